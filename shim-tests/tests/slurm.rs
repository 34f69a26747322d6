//! Namespaces under Slurm, on a real cluster of two nodes.

use privns_shim_tests::{Ending, Site, Slurm, needs};

/// What a program of the family prints in one line, wherever it runs.
const LISTING: &str = "echo $(ls /new; cat /new/f /new/ro/f; ls -A /dev/shm)";

fn site() -> Site {
    let site = Site::new();
    site.write("src/f", "bound\n");
    site.write("ro/f", "read only\n");
    site
}

/// A namespace with a bind, one inside it, and an instance.
fn options(site: &Site) -> Vec<String> {
    let words = ["--bind", &site.at("src"), "/new", "--ro-bind", &site.at("ro"), "/new/ro"];
    words.iter().chain(&["--private", "/dev/shm"]).map(|word| (*word).to_owned()).collect()
}

/// So many times what [`LISTING`] prints.
fn listing(times: usize) -> String {
    "f ro bound read only\n".repeat(times)
}

/// A file of the site that can be run.
fn program(site: &Site, name: &str, text: &str) -> String {
    let path = site.write(name, text);
    site.cmd("chmod").arg("755").arg(&path).run().ok();
    path.to_string_lossy().into_owned()
}

/// The words that submit a job of two nodes and four tasks, wait for its end,
/// and show what it has printed. `sbatch -W` would look only now and then.
fn batch(job: &str) -> String {
    format!(
        "sbatch -N2 -n4 -o $T/out {job} >$T/id
         until test -z \"$(squeue -h)\"; do sleep .1; done; cat $T/out"
    )
}

#[test]
fn d2_srun() {
    needs!("d2_srun", [Slurm::NEEDS]);
    let site = site();
    let slurm = Slurm::start(&site, [""; 0]);
    let script = format!("srun -N2 -n4 sh -c '{LISTING}'; touch /dev/shm/mine; srun ls /dev/shm");
    let found = format!("{}mine", listing(4));
    slurm.inside(&options(&site), &script).run().prints(&found);
    // A program that lies in the namespace alone is for one on the host to run.
    program(&site, "src/prog", "#!/bin/sh\necho $0 $PWD\n");
    let script = "cd /new; srun -D / env -C /new ./prog";
    slurm.inside(&options(&site), script).run().prints("./prog /new");
}

/// A batch job finds the family that it was submitted from, or, when that has
/// ended, what it was at the time; so do its steps, all in one family.
#[test]
fn d2_sbatch() {
    needs!("d2_sbatch", [Slurm::NEEDS]);
    let site = site();
    let slurm = Slurm::start(&site, [""; 0]);
    let job = format!(
        "#!/bin/sh\nuntil test -e $T/go; do sleep .05; done; {LISTING}\n\
         echo batch >/dev/shm/x; srun -N2 -n2 cat /dev/shm/x; srun -N2 -n4 sh -c 'rm -f /dev/shm/x; {LISTING}'"
    );
    let job = program(&site, "job", &job);
    let found = format!("{}batch\nbatch\n{}", listing(1), listing(4));
    slurm.inside(&options(&site), &format!("touch $T/go; {}", batch(&job))).run().prints(&found);
    std::fs::remove_file(site.path("go")).expect("remove");
    slurm.inside(&options(&site), &format!("sbatch -N2 -n4 -o $T/later {job}")).run().ok();
    // The name is free: nobody is left in it.
    site.inside(&[""; 0], "").run().ok();
    site.write("go", "");
    slurm
        .sh("until test -z \"$(squeue -h)\"; do sleep .1; done; cat $T/later")
        .run()
        .prints(&found);
}

/// Nothing of the environment arrives: a TaskProlog brings the namespace.
#[test]
fn d2_export_none() {
    needs!("d2_export_none", [Slurm::NEEDS]);
    let site = site();
    let image = site.cmd("ns-exec").args(options(&site)).arg("--dump=token").run().ok();
    let library = privns_shim_tests::bins().library();
    let prolog = format!(
        "#!/bin/sh\necho export LD_PRELOAD={}\necho export PRIVNS_IMAGE={image}\n",
        library.display()
    );
    let prolog = program(&site, "prolog", &prolog);
    let slurm = Slurm::start(&site, ["--task-prolog", &prolog]);
    let job = format!("#!/bin/sh\n{LISTING}\n/usr/bin/srun -N2 -n4 /bin/sh -c '{LISTING}'\n");
    let job = program(&site, "job", &job);
    slurm.sh(&batch(&format!("--export=NONE {job}"))).run().prints(&listing(5));
}

#[test]
fn d2_mpirun() {
    needs!("d2_mpirun", [Slurm::NEEDS], "mpirun");
    let site = site();
    let slurm = Slurm::start(&site, [""; 0]);
    let job = format!("#!/bin/sh\nmpirun --oversubscribe -n 4 sh -c '{LISTING}'\n");
    let job = program(&site, "job", &job);
    slurm.inside(&options(&site), &batch(&job)).run().prints(&listing(4));
}

/// Begins another machine for a program and what it starts: its own processes,
/// runtime directory, name and boot.
const ELSEWHERE: &str = r#"#!/bin/busybox sh
number=${PRIVNS#*:}; number=${number%%:*}
exec /bin/busybox unshare -m -u -p -f /bin/busybox sh -c '
    eval "exec $1>&-"; shift
    /bin/busybox mount -t proc proc /proc; /bin/busybox hostname other
    /bin/busybox mount --bind $T/boot /proc/sys/kernel/random/boot_id
    for dir in $T/run $T/local; do /bin/busybox mount -t tmpfs -o mode=700 tmpfs $dir; done
    "$@"' sh $number "$@"
"#;

/// Says that it is here, in an instance, and waits for another that does.
const MEET: &str = "#!/bin/sh
touch /dev/shm/$1; until test -e /dev/shm/$2; do sleep .02; done; sleep .1; echo met";

/// Where the family's table cannot be, its image serves; all programs that come
/// there with it are one family, and a source that is not there is an error.
#[test]
fn on_another_machine() {
    needs!("on_another_machine", [Slurm::NEEDS], "root", "/bin/busybox");
    let site = site();
    site.write("boot", "11111111-2222-3333-4444-555555555555\n");
    site.mkdir("local/sub");
    program(&site, "elsewhere", ELSEWHERE);
    let slurm = Slurm::start(&site, [""; 0]);
    program(&site, "look", &format!("#!/bin/sh\n{LISTING}\n"));
    program(&site, "meet", MEET);
    // The keeper there ends with that machine: it is given time to clear up before.
    let script = "srun -n1 $T/elsewhere /bin/busybox sh -c \
        '$T/look; $T/meet 1 2 & $T/meet 2 1; wait; /bin/busybox sleep 5'";
    let outcome = slurm.inside(&options(&site), script).run();
    outcome.prints(&format!("{}met\nmet", listing(1)));
    // Its members are listed from here, by way of its /proc. That machine ends at
    // once with its keeper, and would leave an instance behind: there is none.
    let serve =
        format!("{}/ns-serve dir /proc --ro --auth none", privns_shim_tests::bins().dir.display());
    let far = "#!/bin/sh\nsleep 7778 &\nexec env -u LD_PRELOAD SERVE --listen unix!$T/other >$T/other.said\n";
    program(&site, "far", &far.replace("SERVE", &serve));
    let script = r#"srun -Q -n1 $T/elsewhere $T/far &
        until test -s $T/other.said; do sleep .05; done; cd /; ns mount unix!$T/other /proc/other || exit
        ns ps | sed -n 's/^other .* sleep 7778$/listed/p'; cat /proc/other/sys/kernel/hostname; scancel -u $(id -un); wait"#;
    let outcome = slurm.inside(&["--bind", "/usr/share", "/new/share"], script).run();
    assert!(outcome.out().starts_with("listed\nother"), "{outcome}");
    let bound = ["--bind", &site.at("local/sub"), "/new/local"];
    let outcome = slurm.inside(&bound, "srun -n1 -w n1 -Q $T/elsewhere /bin/true").run();
    let node = site.sh("hostname -s").run().ok();
    let err = outcome.err();
    assert_eq!(outcome.ending, Ending::Exit(125), "{outcome}");
    for word in [&site.at("local/sub"), &format!("bound on {node}"), "this is n1", "--skip-missing"]
    {
        assert!(err.contains(word), "{word}: {outcome}");
    }
}
