//! A /tmp and a /dev/shm for every batch job, by ns-slurm-prolog as TaskProlog.

use privns_shim_tests::package;
use privns_shim_tests::{Site, Slurm, Source, bins, compile, needs, site_page, until};

/// The words of a script that wait until no job is left.
const DONE: &str = "until test -z \"$(squeue -h)\"; do sleep .1; done";

/// A file of the site that can be run.
fn program(site: &Site, name: &str, text: &str) -> String {
    let path = site.write(name, text);
    site.cmd("chmod").arg("755").arg(&path).run().ok();
    path.to_string_lossy().into_owned()
}

/// A cluster whose site gives each job a /tmp and a /dev/shm, and clears them away.
fn cluster(site: &Site) -> Slurm<'_> {
    let page = site_page();
    let begins =
        |begin: &str| page.lines().filter(|line| line.starts_with(begin)).collect::<Vec<_>>();
    let lines = begins("private -i ");
    assert_eq!(lines.len(), 2, "the page says what a job gets");
    let file = site.write("job-namespace", lines.join("\n"));
    let dir = format!("{}/", bins().dir.display());
    let run = |line: &str| format!("#!/bin/sh\n{}\n", line.replace("/usr/local/bin/", &dir));
    let prolog = begins("TaskProlog=")[0].replace("TaskProlog=", "exec ");
    let prolog = program(site, "prolog", &run(&format!("{prolog} -n {}", file.display())));
    let epilog = program(site, "epilog", &run(begins("exec /usr/local/bin/ns reap ")[0]));
    Slurm::start(site, ["--task-prolog", &prolog, "--epilog", &epilog])
}

/// What lies on the host of a job's instances.
fn instances(site: &Site, job: &str) -> String {
    site.sh(&format!("ls -d /tmp/.job-{job}.* /dev/shm/.job-{job}.* 2>/dev/null; true")).run().ok()
}

/// Jobs at the same time, and tasks of an array, each have their own; steps and the batch
/// script share one on a node; nothing is left. PAM has no part in it (UsePAM=0), and nothing
/// of the submitter's environment comes along.
#[test]
fn p6_p9() {
    needs!("p6", [Slurm::NEEDS]);
    let site = Site::new();
    let slurm = cluster(&site);
    let job = "#!/bin/sh\necho $SLURM_JOB_ID >/tmp/x; echo $SLURM_JOB_ID >/dev/shm/x
        touch $OUT/here-$SLURM_JOB_ID; until test $(ls -d $OUT/here-* | wc -l) = 4; do sleep .1; done
        echo $SLURM_JOB_ID $(cat /tmp/x /dev/shm/x) $(ls /tmp | wc -l) $(stat -c %a /tmp)\n";
    let job = program(&site, "job", &job.replace("$OUT", &site.at("out")));
    site.mkdir("out");
    let submit = format!("sbatch -N1 -n1 --export=NONE -o $T/out/%j {job} >$T/id");
    let script = format!(
        "{submit}; {submit}; {}; {DONE}; cat $T/out/[0-9]*",
        submit.replace("-N1", "-a 0-1 -N1")
    );
    let out = slurm.sh(&script).run().ok();
    assert_eq!(out.lines().count(), 4, "{out}");
    for line in out.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words[1..] == [words[0], words[0], "1", "1777"], "{out}");
        assert_eq!(instances(&site, words[0]), "");
    }
    let job = "#!/bin/sh\ncd /; echo batch >/tmp/b; srun -N2 -n2 sh -c 'echo $SLURMD_NODENAME >/tmp/n; echo s >/dev/shm/s'
        srun -Q -N2 -n4 sh -c 'echo $SLURMD_NODENAME $(cat /tmp/n /dev/shm/s)' | sort; srun -Q -N1 -n1 -w n1 cat /tmp/b\n";
    let job = program(&site, "steps", job);
    let script =
        format!("sbatch -N2 -n4 -w n1,n2 -o $T/steps.out {job} >$T/id; {DONE}; cat $T/steps.out");
    slurm.sh(&script).run().prints("n1 n1 s\nn1 n1 s\nn2 n2 s\nn2 n2 s\nbatch");
}

/// A job that was submitted from inside a family has that namespace too.
#[test]
fn a_job_from_inside_a_family() {
    needs!("a_job_from_inside_a_family", [Slurm::NEEDS]);
    let site = Site::new();
    site.write("src/f", "bound\n");
    let slurm = cluster(&site);
    let job = "#!/bin/sh\ncat /new/f; ls /tmp | wc -l; echo x >/tmp/x; srun -N2 -n2 sh -c 'cat /new/f'; srun -n1 -N1 -w n1 ls /tmp\n";
    let job = program(&site, "job", job);
    let script = format!(
        "echo y >/tmp/y; cd $T; sbatch -N2 -n2 -w n1,n2 -o $T/out {job} >$T/id; {DONE}; cat $T/out; ls /tmp"
    );
    let options = ["--bind", &site.at("src"), "/new", "--private", "/tmp"];
    slurm.inside(&options, &script).run().prints("bound\n0\nbound\nbound\nx\ny");
}

/// As a user who asks for it himself, on a cluster that knows nothing of it.
#[test]
fn by_srun_alone() {
    needs!("by_srun_alone", [Slurm::NEEDS]);
    srun_alone(None);
}

/// The same on a cluster of an ordinary user's.
#[test]
fn by_srun_alone_as_a_user() {
    needs!("by_srun_alone_as_a_user", [Slurm::NEEDS], "root", "setpriv");
    srun_alone(Some(65534));
}

fn srun_alone(user: Option<u32>) {
    let site = Site::new();
    let prolog = site.mkdir("bin").join("ns-slurm-prolog");
    for name in ["ns-slurm-prolog", "ns-exec", "libprivns.so"] {
        std::fs::copy(bins().dir.join(name), site.path("bin").join(name)).expect("copy");
    }
    site.cmd("chmod").arg("755").arg(site.root()).run().ok();
    let slurm = Slurm::start_as(&site, user, [""; 0]);
    let script = format!(
        "cd /; srun -N2 -n2 --task-prolog={} sh -c 'ls /tmp | wc -l; findmnt -n -o TARGET /tmp; findmnt -n -o TARGET /dev/shm' | sort",
        prolog.display()
    );
    slurm.sh(&script).run().prints("/dev/shm\n/dev/shm\n/tmp\n/tmp\n0\n0".trim_end());
    // One that cannot be had: said, and the task does not run.
    let bad =
        program(&site, "bad", &format!("#!/bin/sh\nexec {} -n /no/such/file\n", prolog.display()));
    let refused = slurm.sh(&format!("srun -n1 --task-prolog={bad} echo ran")).run();
    assert!(refused.out().starts_with("ns-slurm-prolog: reading /no/such/file"), "{refused}");
    assert!(!refused.out().contains("\nran"), "{refused}");
}

/// Where the keepers were killed, the Epilog removes what the job leaves; it touches nothing
/// of another job.
#[test]
fn p7_the_epilog() {
    needs!("p7_the_epilog", [Slurm::NEEDS]);
    let site = Site::new();
    site.write("kept", "kept\n");
    let slurm = cluster(&site);
    let leave = "#!/bin/sh
        echo $SLURM_JOB_ID >$T/left; ln -s $T/kept /tmp/link; echo x >/tmp/x; mkdir /tmp/d
        kill -9 $(ns families --json | sed -n 's/.*\"keeper\": *\\([0-9]*\\).*/\\1/p')\n";
    let stay = "#!/bin/sh\necho $SLURM_JOB_ID >$T/id; echo mine >/tmp/x; until test -e $T/go; do sleep .1; done; cat /tmp/x\n";
    let [leave, stay] =
        [("leave", leave), ("stay", stay)].map(|(name, text)| program(&site, name, text));
    let submit = |job: &str| format!("sbatch -N1 -n1 -o {job}.out {job} >$T/said");
    let script = format!(
        "{}; until test -e $T/id; do sleep .1; done; {}; until test $(squeue -h | wc -l) = 1; do sleep .1; done",
        submit(&stay),
        submit(&leave)
    );
    slurm.sh(&script).run().ok();
    let read =
        |name: &str| std::fs::read_to_string(site.path(name)).expect("read").trim().to_owned();
    until("the Epilog has removed them", || instances(&site, &read("left")).is_empty());
    assert_eq!(instances(&site, &read("id")).lines().count(), 2);
    site.write("go", "");
    slurm.sh(&format!("{DONE}; cat $T/stay.out; cat $T/kept")).run().prints("mine\nkept");
}

/// Ranks exchange 1 MB by shared memory, in the job's own /dev/shm.
#[test]
fn p15() {
    needs!("p15", [Slurm::NEEDS], "mpirun", "mpicc");
    let site = Site::new();
    let slurm = cluster(&site);
    let shown = |what: &str| site.cmd("mpicc").arg(format!("--showme:{what}")).run().ok();
    let flags = format!("{} {}", shown("compile"), shown("link"));
    let files = vec![package().join("c/mpi/exchange.c")];
    let flags = flags.split_whitespace().map(str::to_owned).collect();
    let source = Source { name: "exchange".into(), files, flags };
    let exchange = compile(&source).expect("compile");
    let job = format!(
        "#!/bin/sh\ncd /; mpirun --mca btl self,vader --oversubscribe -n 4 {}; ls /dev/shm\n",
        exchange.display()
    );
    let job = program(&site, "job", &job);
    let script = format!("sbatch -N1 -n2 -o $T/out {job} >$T/id; {DONE}; cat $T/out");
    let outcome = slurm.sh(&script).run();
    let out = outcome.ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.first(), Some(&"4 of 4"), "{outcome}");
    assert!(lines.get(1).is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 0)), "{outcome}");
}
