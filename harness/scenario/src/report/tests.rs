//! Golden texts of the three formats, from results made by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::expect;
use sim::Time;

use crate::outcome::{Check, Finding, Lint, Outcome, Value, Verdict};
use crate::report::{json, junit, text};

fn outcome(name: &str, verdict: Verdict) -> Outcome {
    let failing = Check {
        name: "vm0.exits is at most 0".to_owned(),
        verdict,
        message: "3, expected at most 0".to_owned(),
        line: Some(12),
        why: None,
        notable: false,
    };
    Outcome {
        scenario: name.to_owned(),
        path: format!("scenarios/{name}.toml"),
        title: "Missing broadcast is a real bug".to_owned(),
        statement: Some("Q11".to_owned()),
        seed: 7,
        verdict,
        simulated: Time::ns(12_500),
        host: Duration::from_millis(20),
        events: 1_234_567,
        checks: vec![
            Check {
                name: "step 1: bind".to_owned(),
                verdict: Verdict::Pass,
                message: "ok".to_owned(),
                line: Some(3),
                why: Some("the device comes first".to_owned()),
                notable: true,
            },
            failing,
        ],
        metrics: BTreeMap::from([
            ("vm0.exits".to_owned(), Value::Count(3)),
            ("loop.unmap_ns_mean".to_owned(), Value::Number(5300.25)),
            ("smmu0.obscure".to_owned(), Value::Count(1)),
        ]),
        findings: vec![Finding {
            kind: "stale-use".to_owned(),
            time: Time::us(9),
            expected: verdict == Verdict::Pass,
            summary: "b read 0x1000 through smmu1 after it was unmapped".to_owned(),
            story: vec!["3 us: mapped".to_owned(), "7 us: TLBI_NH_VA completed on smmu0 only".to_owned()],
        }],
        lints: vec![Lint {
            psmmu: "smmu0".to_owned(),
            text: "CONSTRAINED UNPREDICTABLE: odd; this model shrugs (R00)".to_owned(),
            count: 2,
        }],
        notes: vec!["smmu1 was never told".to_owned()],
    }
}

fn plain(styled: &str) -> String {
    let mut out = String::new();
    let mut escape = false;
    for c in styled.chars() {
        match (escape, c) {
            (false, '\u{1b}') => escape = true,
            (true, 'm') => escape = false,
            (true, _) => {}
            (false, c) => out.push(c),
        }
    }
    out
}

#[test]
fn text_of_a_pass() {
    expect![[r#"
        PASS  Q11: Missing broadcast is a real bug
             scenarios/q11.toml, seed 7; 12.5 us simulated; 2 of 2 checks hold
             + line 3 step 1: bind: ok (the device comes first)
             as expected, stale-use: b read 0x1000 through smmu1 after it was unmapped
               - 3 us: mapped
               - 7 us: TLBI_NH_VA completed on smmu0 only
             vm0.exits                      3  VM exits
             loop.unmap_ns_mean      5300.250  unmap, mean ns
             lint, smmu0, 2x: CONSTRAINED UNPREDICTABLE: odd; this model shrugs (R00)
             note: smmu1 was never told
    "#]]
    .assert_eq(&plain(&text::result(&outcome("q11", Verdict::Pass))));
}

#[test]
fn text_of_a_failure() {
    expect![[r#"
        FAIL  Q11: Missing broadcast is a real bug
             scenarios/q11.toml, seed 7; 12.5 us simulated; 1 of 2 checks hold
             x vm0.exits is at most 0
               scenarios/q11.toml:12: 3, expected at most 0
             + line 3 step 1: bind: ok (the device comes first)
             stale-use at 9 us: b read 0x1000 through smmu1 after it was unmapped
               - 3 us: mapped
               - 7 us: TLBI_NH_VA completed on smmu0 only
             vm0.exits                      3  VM exits
             loop.unmap_ns_mean      5300.250  unmap, mean ns
             lint, smmu0, 2x: CONSTRAINED UNPREDICTABLE: odd; this model shrugs (R00)
             note: smmu1 was never told
             repeat: smmulate run scenarios/q11.toml --seed 7
             look closer: smmulate run scenarios/q11.toml --seed 7 --trace trace.txt
    "#]]
    .assert_eq(&plain(&text::result(&outcome("q11", Verdict::Fail))));
}

#[test]
fn summary_of_several() {
    let outcomes = [outcome("q11", Verdict::Pass), outcome("a-longer-name", Verdict::Fail)];
    expect![[r#"
               scenario          simulated          events   VM exits
        PASS   q11                 12.5 us       1 234 567          0
        FAIL   a-longer-name       12.5 us       1 234 567          0
        1 of 2 scenarios fail (0.0 s of computing)
    "#]]
    .assert_eq(&plain(&text::summary(&outcomes)));
}

#[test]
fn json_document() {
    let document = json::document(&[outcome("q11", Verdict::Fail)]);
    expect![[r#"
        {
          "results": [
            {
              "checks": [
                {
                  "line": 3,
                  "message": "ok",
                  "name": "step 1: bind",
                  "verdict": "pass",
                  "why": "the device comes first"
                },
                {
                  "line": 12,
                  "message": "3, expected at most 0",
                  "name": "vm0.exits is at most 0",
                  "verdict": "fail",
                  "why": null
                }
              ],
              "events": 1234567,
              "file": "scenarios/q11.toml",
              "findings": [
                {
                  "expected": false,
                  "kind": "stale-use",
                  "story": [
                    "3 us: mapped",
                    "7 us: TLBI_NH_VA completed on smmu0 only"
                  ],
                  "summary": "b read 0x1000 through smmu1 after it was unmapped",
                  "time_ps": 9000000
                }
              ],
              "host_ms": 20.0,
              "lints": [
                {
                  "count": 2,
                  "psmmu": "smmu0",
                  "text": "CONSTRAINED UNPREDICTABLE: odd; this model shrugs (R00)"
                }
              ],
              "metrics": {
                "loop.unmap_ns_mean": 5300.25,
                "smmu0.obscure": 1,
                "vm0.exits": 3
              },
              "notes": [
                "smmu1 was never told"
              ],
              "scenario": "q11",
              "seed": 7,
              "simulated_ps": 12500000,
              "statement": "Q11",
              "title": "Missing broadcast is a real bug",
              "verdict": "fail"
            }
          ],
          "version": 1
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&document).unwrap());
}

#[test]
fn junit_document() {
    expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="smmulate" tests="3" skipped="0" failures="2" errors="0">
            <testsuite name="q11" tests="3" skipped="0" errors="0" failures="2" time="0.020">
                <properties>
                    <property name="file" value="scenarios/q11.toml"/>
                    <property name="title" value="Missing broadcast is a real bug"/>
                    <property name="seed" value="7"/>
                </properties>
                <testcase name="step 1: bind" classname="q11"/>
                <testcase name="vm0.exits is at most 0" classname="q11">
                    <failure message="3, expected at most 0" type="check">scenarios/q11.toml:12: 3, expected at most 0</failure>
                </testcase>
                <testcase name="oracle: stale-use" classname="q11">
                    <failure message="b read 0x1000 through smmu1 after it was unmapped" type="stale-use">3 us: mapped
        7 us: TLBI_NH_VA completed on smmu0 only</failure>
                </testcase>
            </testsuite>
        </testsuites>
    "#]].assert_eq(&junit::document(&[outcome("q11", Verdict::Fail)]));
}
