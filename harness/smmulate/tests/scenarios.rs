//! The shipped scenarios, and what becomes of them when somebody changes a word.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};

use scenario::outcome::Verdict;
use scenario::report::{json, text};
use scenario::run::{Options, Ran, run};
use scenario::{Scenario, files, read_file};

fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    files::find(&[root]).unwrap()
}

fn read(path: &Path) -> Scenario {
    read_file(path).unwrap_or_else(|rejected| panic!("{}: {rejected:?}", path.display()))
}

/// The result as JSON without the host's time, and the trace.
fn bytes(ran: &Ran) -> (String, Option<String>) {
    let mut outcome = ran.outcome.clone();
    outcome.host = std::time::Duration::ZERO;
    (serde_json::to_string(&json::document(&[outcome])).unwrap(), ran.trace.clone())
}

#[test]
fn all_pass_and_equal_seeds_give_equal_bytes() {
    for path in shipped() {
        let scenario = read(&path);
        let options = Options { seed: None, trace: true };
        let first = run(&scenario, options);
        assert_eq!(first.outcome.verdict, Verdict::Pass, "{}", text::result(&first.outcome));
        let again = std::thread::spawn(move || run(&scenario, options)).join().unwrap();
        let ((json, trace), (json_again, trace_again)) = (bytes(&first), bytes(&again));
        assert_eq!(json, json_again, "{}", path.display());
        assert!(trace == trace_again, "{}: the traces differ", path.display());
        let untraced = run(&read(&path), Options::default());
        assert_eq!(json, bytes(&untraced).0, "{}: tracing changes the result", path.display());
    }
}

#[test]
fn every_statement_ships() {
    let all: Vec<String> = shipped().iter().filter_map(|path| read(path).statement).collect();
    for number in 1..=20 {
        assert!(all.contains(&format!("Q{number}")), "Q{number}");
    }
}

/// File, what is replaced by what, and what the failure has to say.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    (
        "statements/q02-no-exit",
        "policy = \"passthrough\"",
        "policy = \"trapped\"",
        &["vm0.exits is 2; expected exactly 0", "`vs0` has no CMDQV"],
    ),
    ("statements/q03-one-window", ", expect = \"ENXIO\"", "", &["the request 0x8000: all of it or nothing"]),
    (
        "statements/q04-one-page-two-smmus",
        "{ oracle = \"stale-use\", endpoint = \"a\", min = 1 },",
        "",
        &[
            "the oracle finds nothing else",
            "host maps domain",
            "host unmaps domain",
            "smmu1's command queue 3 consumes TLBI_NH_VA",
            "smmu0 itself consumed no invalidation that covers it: it kept the entry",
        ],
    ),
    (
        "statements/q05-duplicated-writes",
        "{ oracle = \"stale-use\", endpoint = \"b\", min = 1 },",
        "",
        &["smmu0's command queue 3 consumes TLBI_NH_VA", "smmu1 itself consumed no invalidation"],
    ),
    (
        "statements/q10-wrong-selection",
        ", expect = \"EIO\"",
        "",
        &["virtual StreamID 0x20 has no virtual device on this viommu, of smmu0"],
    ),
    (
        "statements/q11-missing-broadcast",
        "{ oracle = \"stale-use\", endpoint = \"b\", at = \"smmu1\", min = 1 },",
        "",
        &["smmu0's command queue consumes TLBI_NH_VA", "smmu1 itself consumed no invalidation"],
    ),
    (
        "statements/q12-instance-mismatch",
        ", expect = \"EINVAL\"",
        "",
        &["failed with -EINVAL: b is behind smmu1, but viommu 6 belongs to smmu0"],
    ),
    (
        "statements/q12-instance-mismatch-rfc",
        ", expect = \"EINVAL\"",
        "",
        &["failed with -EINVAL: b is behind smmu1, but viommu 6 belongs to smmu0"],
    ),
    ("statements/q13-one-device-two-viommus", ", expect = \"EEXIST\"", "", &["has a virtual device already"]),
    ("statements/q14-many-devices", ", expect = \"ENOSPC\"", "", &["no free StreamID slot on smmu0"]),
    (
        "statements/q17-instance-not-type",
        ", expect = \"EINVAL\"",
        "",
        &["b is behind smmu1, but viommu 5 belongs to smmu0"],
    ),
    (
        "statements/q18-stage2-across-instances",
        ", expect = \"EINVAL\"",
        "",
        &["b is behind smmu1, but page table 4 belongs to smmu0"],
    ),
    // The mutations: without the fault there is nothing to find.
    ("mutations/drop-one-tlbi", "{ do = \"arm-fault\", fault = \"deaf\" },", "", &["expected at least 1"]),
    ("mutations/early-sync", "kind = ", "armed = false\nkind = ", &["expected at least 1"]),
    (
        "mutations/skip-one-broadcast",
        "{ do = \"arm-fault\", fault = \"forgetful\" },",
        "",
        &["expected at least 1"],
    ),
    ("mutations/stale-cd", "{ do = \"arm-fault\", fault = \"deaf\" },", "", &["expected at least 1"]),
    (
        "mutations/keep-guest-vmid",
        "{ do = \"arm-fault\", fault = \"trusting\" },",
        "",
        &["expected at least 1"],
    ),
    (
        "mutations/keep-guest-sid",
        "{ do = \"arm-fault\", fault = \"trusting\" },",
        "",
        &["expected at least 1"],
    ),
    (
        "mutations/swap-two-sid-slots",
        "{ do = \"arm-fault\", fault = \"swapped\" },",
        "",
        &["expected at least 1"],
    ),
];

#[test]
fn a_changed_word_fails_and_says_why() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let folder = std::env::temp_dir().join(format!("smmulate-rows-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, from, to, says) in ROWS {
        let original = std::fs::read_to_string(root.join(format!("{name}.toml"))).unwrap();
        assert!(original.contains(from), "{name} does not contain {from}");
        let copy = folder.join("copy.toml");
        std::fs::write(&copy, original.replace(from, to)).unwrap();
        let ran = run(&read(&copy), Options::default());
        let shown = text::result(&ran.outcome);
        assert_eq!(ran.outcome.verdict, Verdict::Fail, "{name}: {shown}");
        for part in *says {
            assert!(shown.contains(part), "{name} does not say {part:?}:\n{shown}");
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
