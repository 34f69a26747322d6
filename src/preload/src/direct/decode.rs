//! As much of the instruction set as compilers write between the number of a system call and
//! the call (Intel's manual, volume 2, "Instruction Format").

/// Bytes of `mov $NUMBER, %eax`.
pub(super) const MOVE: usize = 5;
/// Most bytes that are looked at between it and the call.
pub(super) const BETWEEN: usize = 40;
/// Numbers of system calls are below.
const NUMBERS: u32 = 512;

/// Where, before a `syscall` that is at `end`, its number is loaded, and the number.
pub(super) fn number_before(code: &[u8], end: usize) -> Option<(usize, u32)> {
    let first = end.saturating_sub(MOVE + BETWEEN).max(1);
    (first..=end.checked_sub(MOVE)?).rev().find_map(|at| {
        let number = number_at(code, at, end)?;
        is_straight(code.get(at + MOVE..end)?).then_some((at, number))
    })
}

/// Whether the number of a `syscall` at `end` is nought, which compilers load in two bytes.
pub(super) fn is_nought_before(code: &[u8], end: usize) -> bool {
    let first = end.saturating_sub(2 + BETWEEN);
    let loads = |at: usize| code.get(at..at + 2) == Some(&[0x31, 0xc0]);
    let straight = |at: usize| code.get(at + 2..end).is_some_and(is_straight);
    (first..end.saturating_sub(1)).any(|at| loads(at) && straight(at))
}

/// The number that is loaded into eax at a place, for a call at `end`.
fn number_at(code: &[u8], at: usize, end: usize) -> Option<u32> {
    let bytes = code.get(at..at + MOVE)?;
    let number = u32::from_le_bytes(bytes.get(1..)?.try_into().ok()?);
    (bytes.first() == Some(&0xb8) && number < NUMBERS && !is_other_move(code, at, end))
        .then_some(number)
}

/// Whether what seems to be a move to eax may be one to another register, by a prefix before it
/// which may as well be the end of what comes before.
fn is_other_move(code: &[u8], at: usize, end: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| code.get(before));
    match before.copied().unwrap_or_default() {
        // To r8d, as long.
        0x41 | 0x43 | 0x45 | 0x47 => true,
        // Of eight bytes.
        0x48..=0x4f => code.get(at + MOVE + 4..end).is_some_and(is_straight),
        _ => false,
    }
}

/// Whether all of it is moves, which do the same anywhere.
fn is_straight(mut code: &[u8]) -> bool {
    while !code.is_empty() {
        match length(code).and_then(|len| code.get(len..)) {
            Some(rest) => code = rest,
            None => return false,
        }
    }
    true
}

/// The length of an instruction that is such a one.
fn length(code: &[u8]) -> Option<usize> {
    let prefix = usize::from(matches!(code.first()?, 0x40..=0x4f));
    let wide = prefix == 1 && code.first()? & 8 != 0;
    let operation = *code.get(prefix)?;
    let operands = code.get(prefix + 1..)?;
    let len = match operation {
        // To another register than eax: a number.
        0xb8..=0xbf if !wide && (operation != 0xb8 || code.first()? & 1 == 1 && prefix == 1) => 4,
        // Pushes and pops of registers, and pushes of numbers.
        0x50..=0x5f => 0,
        0x6a => 1,
        0x68 => 4,
        // xor, mov, lea, movslq.
        0x31 | 0x33 | 0x63 | 0x89 | 0x8b | 0x8d => operand(operands)?,
        // Numbers added, compared and moved.
        0x83 => operand(operands)? + 1,
        0x81 | 0xc7 => operand(operands)? + 4,
        // Narrower ones, widened.
        0x0f if matches!(operands.first()?, 0xb6 | 0xb7 | 0xbe | 0xbf) => {
            1 + operand(operands.get(1..)?)?
        }
        _ => return None,
    };
    Some(prefix + 1 + len)
}

/// The length of a ModRM byte and what follows it; none for what is found by where the
/// instruction is.
fn operand(bytes: &[u8]) -> Option<usize> {
    let modrm = *bytes.first()?;
    let (kind, base) = (modrm >> 6, modrm & 7);
    if kind == 3 {
        return Some(1);
    }
    let scaled = base == 4;
    let base = if scaled { bytes.get(1)? & 7 } else { base };
    let offset = match kind {
        0 if base == 5 && !scaled => return None,
        0 if base == 5 => 4,
        0 => 0,
        1 => 1,
        _ => 4,
    };
    Some(1 + usize::from(scaled) + offset)
}
