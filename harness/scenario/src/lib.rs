//! Scenario files: parse, check, build a platform, run it, judge it, report.
