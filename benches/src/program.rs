//! A C program for `make` to build when there are no sources of a real one.
//!
//! Sixty files that include each other's headers and those of the C library, with functions
//! enough to keep the optimiser busy for as long as a real file of two hundred lines would.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

const FILES: usize = 60;
const FUNCTIONS: usize = 12;

/// Writes the program into `dir`; always the same bytes.
pub(crate) fn generate(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for file in 0..FILES {
        fs::write(dir.join(format!("part{file}.h")), header(file))?;
        fs::write(dir.join(format!("part{file}.c")), source(file))?;
    }
    fs::write(dir.join("main.c"), main_file())?;
    fs::write(dir.join("Makefile"), MAKEFILE)
}

const MAKEFILE: &str = "\
CFLAGS = -O2 -MMD
OBJS = main.o $(patsubst %.c,%.o,$(wildcard part*.c))
program: $(OBJS)
\t$(CC) -o $@ $(OBJS)
clean:
\trm -f program *.o *.d
-include $(wildcard *.d)
";

fn header(file: usize) -> String {
    format!(
        "#ifndef PART{file}_H\n#define PART{file}_H\n#include <stddef.h>\n\
         struct part{file} {{ size_t used, size; unsigned *items; char name[{}]; }};\n\
         unsigned part{file}_run(unsigned seed);\n#endif\n",
        16 + file
    )
}

fn source(file: usize) -> String {
    let next = (file + 1) % FILES;
    let mut text = format!(
        "#include <errno.h>\n#include <fcntl.h>\n#include <stdio.h>\n#include <stdlib.h>\n\
         #include <string.h>\n#include <sys/stat.h>\n#include <unistd.h>\n\
         #include \"part{file}.h\"\n#include \"part{next}.h\"\n\n"
    );
    for function in 0..FUNCTIONS {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "static unsigned step{function}(struct part{file} *p, unsigned x)\n{{\n\
             \tfor (size_t i = 0; i < p->used; i++) {{\n\
             \t\tswitch ((x ^ p->items[i]) % {}) {{\n\
             \t\tcase 0: x = x * 31u + p->items[i]; break;\n\
             \t\tcase 1: p->items[i] ^= x >> {}; break;\n\
             \t\tcase 2: x += (unsigned)strlen(p->name); break;\n\
             \t\tdefault: x = (x << {}) | (x >> {});\n\t\t}}\n\t}}\n\
             \tsnprintf(p->name, sizeof p->name, \"%u\", x);\n\treturn x;\n}}\n\n",
            3 + (file + function) % 7,
            1 + function,
            1 + function,
            31 - function,
        );
    }
    let _ = write!(
        text,
        "unsigned part{file}_run(unsigned seed)\n{{\n\
         \tstruct part{file} p = {{64, 64, calloc(64, sizeof(unsigned)), \"part\"}};\n\
         \tif (!p.items)\n\t\treturn errno;\n"
    );
    for function in 0..FUNCTIONS {
        let _ = writeln!(text, "\tseed = step{function}(&p, seed + {function}u);");
    }
    text.push_str("\tfree(p.items);\n\treturn seed;\n}\n");
    text
}

fn main_file() -> String {
    let mut text = String::from("#include <stdio.h>\n");
    for file in 0..FILES {
        let _ = writeln!(text, "#include \"part{file}.h\"");
    }
    text.push_str("int main(void)\n{\n\tunsigned x = 1;\n");
    for file in 0..FILES {
        let _ = writeln!(text, "\tx = part{file}_run(x);");
    }
    text.push_str("\tprintf(\"%u\\n\", x);\n\treturn 0;\n}\n");
    text
}
