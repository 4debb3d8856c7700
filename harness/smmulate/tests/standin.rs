//! Wrong input to `boot`, `serve` and `replay`: each row must exit with 2 and say what to do.

use std::path::PathBuf;
use std::process::Command;

fn file(name: &str, text: &[u8]) -> PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("standin");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

const ONE: &str = "title = \"x\"\n[psmmu.smmu0]\n[endpoint.nvme0]\nkind = \"nvme\"\n";

#[test]
fn wrong_input_is_explained() {
    let platform = |name: &str, text: &str| file(name, text.as_bytes()).display().to_string();
    let good = platform("good.toml", ONE);
    let tiny = file("tiny.img", b"x").display().to_string();
    let not = file("not.rec", b"hello").display().to_string();
    let recording =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/small-kernel-two-psmmus.rec"))
            .unwrap();
    let short = file("short.rec", &recording[..recording.len() / 2]).display().to_string();
    let folder = file("x", b"").parent().unwrap().join("sockets").display().to_string();
    let long = format!("{folder}/{}", "d".repeat(100));
    let six =
        platform("six.toml", "title = \"x\"\n[psmmu.smmu]\ncount = 6\n[endpoint.a]\npsmmu = \"smmu0\"\n");
    let stream =
        platform("stream.toml", "title = \"x\"\n[psmmu.smmu0]\n[endpoint.nic0]\nkind = \"stream\"\n");
    let streams =
        platform("streams.toml", "title = \"x\"\n[psmmu.smmu0]\n[endpoint.a]\nextra_streams = [99]\n");
    let pair = platform(
        "pair.toml",
        "title = \"x\"\n[psmmu.smmu0]\n[endpoint.a]\npsmmu = \"smmu0\"\n[register_broadcast.pair0]\n[endpoint.b]\nbehind = \"pair0\"\n",
    );
    let wrong = platform("wrong.toml", "title = \"x\"\n[psmmu.smmu0]\ncmdq = true\n[endpoint.a]\n");
    let vm = |vm: &str, more: &str| format!("{ONE}[endpoint.nvme1]\nkind = \"nvme\"\n[vm.vm0]\n{vm}\n{more}");
    let devices = "[vsmmu.vs0]\nvm = \"vm0\"\ndevices = [\"nvme0\"]\n";
    let small_vm = platform("small-vm.toml", &vm("", devices));
    let no_vsmmu = platform("no-vsmmu.toml", &vm("memory = \"256 MiB\"", ""));
    let many_cpus = platform("many-cpus.toml", &vm("memory = \"256 MiB\"\nvcpus = 9", devices));
    let guest = platform("guest.toml", &vm("memory = \"256 MiB\"", devices));
    let rows: &[(&[&str], &str)] = &[
        (&["nested", &good], "there is no [vm...] in it"),
        (&["nested", &small_vm], "has 64 MiB of memory; a guest with firmware and Linux needs"),
        (&["nested", &no_vsmmu], "`vm0` sees no SMMU"),
        (&["nested", &many_cpus], "serves at most 8"),
        (&["nested", &guest, "--host", "nowhere.image"], "`nowhere.image`: there is no such image"),
        (&["nested", &guest, "--mib", "1000"], "1000 is not in 0..=128"),
        (&["boot", &good, "--fault", "drop-tlbi"], "a fault is KIND@NAME, like drop-tlbi@smmu0"),
        (&["boot", &good, "--fault", "drop-tlbi@smmu0,nth"], "is no KEY=VALUE, like nth=100"),
        (&["boot", &good, "--fault", "drop-tlb@smmu0"], "did you mean `drop-tlbi`"),
        (&["boot", &good, "--fault", "drop-tlbi@smmu7"], "= note: did you mean `smmu0`?"),
        (&["boot", &good, "--fault", "drop-tlbi@smmu7"], "--> --fault drop-tlbi@smmu7\n"),
        (&["boot", &good, "--fault", "drop-tlbi@smmu7"], "declared: `node0`, `smmu0`, `nvme0`\n"),
        (
            &["boot", &good, "--fault", "drop-tlbi@smmu0,nth=0"],
            "in `--fault drop-tlbi@smmu0,nth=0`: From which",
        ),
        (&["boot", &good, "--fault", "drop-tlbi@smmu7,at=x"], "--fault drop-tlbi@smmu7,at=x: "),
        (&["boot", &good, "--fault", "drop-cfgi@smmu0,command=CFGI_DC"], "did you mean `CFGI_CD`"),
        (
            &["boot", &good, "--fault", "drop-cfgi@smmu0,command=TLBI_NH_VA"],
            "`drop-cfgi` does not concern TLBI_NH_VA",
        ),
        (&["serve", "nowhere.toml", "--dir", &folder], "cannot be read"),
        (&["serve", &wrong, "--dir", &folder], "cmdqv"),
        (&["serve", &six, "--dir", &folder], "it has 6 psmmus; a stand-in takes at most 5"),
        (&["serve", &stream, "--dir", &folder], "use \"nvme\" or \"dma\""),
        (&["serve", &streams, "--dir", &folder], "a PCI function has one StreamID"),
        (&["serve", &pair, "--dir", &folder], "a stand-in takes physical SMMUs only"),
        (&["serve", &good, "--dir", &long], "socket"),
        (&["serve", &good, "--dir", &folder, "--disk", "nvme7=x"], "`x`: No such file"),
        (&["serve", &good, "--dir", &folder, "--disk", &format!("nvme0={tiny}")], "at least 1 MiB"),
        (&["serve", &good, "--dir", &folder, "--disk", "nvme0"], "with = between them"),
        (
            &["serve", &good, "--dir", &folder, "--disk", &format!("nvme0={tiny}"), "--record", "r"],
            "leave out --disk",
        ),
        (&["boot", &good, "--kernel", "nowhere/Image"], "there is no such kernel"),
        (&["boot", &good, "--memory", "1X"], "like 512M"),
        (&["boot", &good, "--memory", "1M", "--kernel", &tiny], "at least 256 MiB"),
        (&["boot", &good, "--cpus", "9", "--kernel", &tiny], "a GICv2 serves 1 to 8"),
        (&["boot", &good, "--kernel", &tiny, "--qemu", "/bin/true"], "QEMU 11.1 or newer is needed"),
        (&["boot", &good, "--kernel", &tiny, "--run", &tiny], "need an --initrd"),
        (&["replay", "nowhere.rec"], "No such file"),
        (&["replay", &not], "is not a recording"),
        (&["replay", &short], "is damaged at entry"),
    ];
    for (args, want) in rows {
        let output = Command::new(env!("CARGO_BIN_EXE_smmulate"))
            .args(*args)
            .env("SMMULATE_CACHE", "/nonexistent")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(want), "{args:?} should say {want:?}: {said}");
    }
}
