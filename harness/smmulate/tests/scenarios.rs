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
            "smmu1's VINTF1.LVCMDQ0=VCMDQ2 consumes TLBI_NH_VA",
            "smmu0 itself consumed no invalidation that covers it: it kept the entry",
        ],
    ),
    (
        "statements/q05-duplicated-writes",
        "{ oracle = \"stale-use\", endpoint = \"b\", min = 1 },",
        "",
        &["smmu0's VINTF1.LVCMDQ0=VCMDQ2 consumes TLBI_NH_VA", "smmu1 itself consumed no invalidation"],
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
    (
        "cmdqv/c03-vmid",
        "[script]",
        "[fault.trusting]\nkind = \"keep-guest-vmid\"\nat = \"smmu0\"\n[script]",
        &["smmu0.misses is 1; expected exactly 0", "vmids_replaced is 0; expected exactly 3"],
    ),
    (
        "cmdqv/c04-streamid",
        "sid_slots = 16 }",
        "sid_slots = 16, knobs = { unmatched-sid = \"illegal-access\" } }",
        &["stopped with CERROR_ILL_ACCESS, but CERROR_ILL was expected"],
    ),
    (
        "cmdqv/c05-forbidden",
        "sid_slots = 16 }",
        "sid_slots = 16, knobs = { guest-nh-all = \"legal\" } }",
        &["smmu0.cmdqv.errors: 3; expected exactly 4"],
    ),
    (
        "cmdqv/c06-error",
        "offset = 0x1_0010, data = \"46",
        "offset = 0x1_0010, data = \"04",
        &["CONS is still 0x1000001"],
    ),
    (
        "cmdqv/c07-isolated",
        "block = \"vs0.lvcmdq1\", reg = \"CONFIG\", value = 0",
        "block = \"vs1.lvcmdq1\", reg = \"CONFIG\", value = 0",
        &["CONFIG was 0x1 and is 0x0"],
    ),
    (
        "cmdqv/c08-inserted-sync",
        ", knobs = { auto-sync = \"off\" }",
        "",
        &["smmu1.inserted_syncs is 1; expected exactly 0"],
    ),
    (
        "cmdqv/c10-backlog",
        "\"drop\" } }",
        "\"stop\" } }",
        &["smmu1.commands.TLBI_NH_ASID is 3; expected exactly 0"],
    ),
    (
        "cmdqv/c11-tegra264",
        "repeat_invalidations = true",
        "",
        &["the oracle finds nothing else", "stale-use: nic1"],
    ),
    (
        "cmdqv/c11-tegra264",
        "preset = \"tegra264\"",
        "preset = \"grace\"",
        &["stale-use: 0; expected at least 1"],
    ),
    (
        "cmdqv/c12-arbitration",
        "arbitration = \"main-first\"",
        "arbitration = \"round-robin\"",
        &["expected at least 5"],
    ),
    (
        "attacks/a1-registers",
        "{ do = \"wait\", load = \"sweep\" },",
        "{ do = \"reg-write\", block = \"smmu0.vintf1\", reg = \"SID_MATCH[1]\", value = 1 },",
        &["SID_MATCH[1] was 0x0 and is 0x1"],
    ),
    (
        "attacks/a4-flood",
        "sid_slots = 16 }",
        "sid_slots = 16, cmd_batch = 255, clk_batch = 255 }",
        &["fair are 2 of 4 busy queues, so that at least 0.500 was expected"],
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
