//! The command line as scripts see it: streams and exit status.
#![allow(missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

fn smmulate(args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_smmulate")).args(args).current_dir(root).output().unwrap()
}

/// Arguments, exit status, a part of stdout, a part of stderr.
#[test]
fn streams_and_status() {
    let rows: &[(&[&str], i32, &str, &str)] = &[
        (&["check", "scenarios"], 0, "ok     scenarios/statements/q11-missing-broadcast.toml", ""),
        (&["check", "scenarios/presets/grace.toml"], 0, "preset: NVIDIA Grace", ""),
        (&["check", "harness/scenario/tests/malformed/bad-unit.toml"], 2, "wrong", "unknown unit `sec`"),
        (&["check", "no/such/place"], 2, "", "`no/such/place` does not exist"),
        (&["check", "docs"], 2, "", "there is no scenario under `docs`"),
        (&["check"], 2, "", "required"),
        (&["chekc"], 2, "", "check"),
        (&["list"], 0, "Q11", ""),
        (&["schema"], 0, "https://json-schema.org/draft/2020-12/schema", ""),
        (&["conformance", "smmuv3"], 0, " absent, 0 fail\n", ""),
        (&["conformance", "smmuv3", "--json", "-"], 0, "\"suite\": \"smmuv3\"", ""),
        (
            &["conformance", "smmuv2"],
            2,
            "",
            "there is no such suite; there is smmuv3, smmuv3-optional, cmdqv",
        ),
        (&["conformance", "cmdqv"], 0, " absent, 0 fail\n", ""),
        (&["conformance", "cmdqv", "--knob", "auto-sync=off"], 0, "  differs  C23 [N]", ""),
        (
            &["conformance", "cmdqv", "--knob", "auto-sync=no"],
            2,
            "",
            "`auto-sync` cannot be `no`; it can be on, off",
        ),
        (
            &["conformance", "cmdqv", "--knob", "k8=off"],
            2,
            "",
            "no CMDQV option is called `k8`; there are forbidden",
        ),
        (
            &["conformance", "smmuv3", "--knob", "auto-sync=off"],
            2,
            "",
            "no row of `smmuv3` has one: leave it out, or run `cmdqv`",
        ),
        (&["--version"], 0, "smmulate", ""),
    ];
    for (args, status, out, err) in rows {
        let output = smmulate(args);
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(*status), "{args:?}: {stderr}");
        assert!(stdout.contains(out), "{args:?}: {stdout}");
        assert!(stderr.contains(err), "{args:?}: {stderr}");
        assert!(!stdout.contains('\u{1b}'), "{args:?}: colours in a pipe");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let one = smmulate(&["check", "scenarios", "--threads", "1"]);
    let many = smmulate(&["check", "scenarios", "--threads", "7"]);
    assert_eq!(one.stdout, many.stdout);
}
