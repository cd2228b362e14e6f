//! `--junit`: the content, and whether it is valid by a JUnit schema.

use serde_json::json;

use super::readers;
use crate::commands::stage::Stage;

/// The schema of Jenkins' xUnit plugin, under the MIT licence that it begins with.
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/reports/junit-10.xsd");

/// Prints the errors of files by a schema.
const VALIDATE: &str = "
import sys, xmlschema
schema = xmlschema.XMLSchema(sys.argv[1])
for path in sys.argv[2:]:
    for fault in schema.iter_errors(path):
        print(path, fault.path, fault.reason)
";

/// A reply that tries to break out of the markup in which it is shown.
const HOSTILE: &str = "421 ]]>\"'<b x='y'>&amp; \u{0}\u{1b}[31m\u{b}\u{85}\u{2028}\u{fffe}\r\n421 </failure>";

/// Writes reports of a run that passes, of one that fails, and of one with hostile replies. Returns their names.
fn reports(stage: &Stage) -> [&'static str; 3] {
    stage.run(&["run", "few.toml", "-q", "--junit", "good.xml", "-o", "good"]).ended(0);
    stage
        .run(&["run", "few.toml", "-q", "--junit", "bad.xml", "-o", "bad", "--assert", "p50 < 1ns"])
        .ended(99);
    let mut result = stage.json("bad/result.json");
    result["limits"] = json!([{
        "name": HOSTILE, "value": 50, "at_least": 50, "at_most": 50, "unit": "sessions", "expected": 40,
        "verdict": "differs", "shown_by": "reply", "reply": HOSTILE, "code": 421, "enhanced": null,
        "condition": null, "step": "greeting", "closed": true, "inside_alive": true, "release_ms": null,
        "trials": 9, "repeats": 3
    }]);
    result["profile"]["name"] = HOSTILE.into();
    stage.put("hostile.json", result.to_string());
    stage.run(&["report", "hostile.json", "--format", "junit", "-o", "hostile.xml"]).ended(0);
    ["good.xml", "bad.xml", "hostile.xml"]
}

#[test]
fn each_assertion_is_a_case_and_ci_sees_what_failed() {
    let stage = Stage::new();
    reports(&stage);
    let (good, bad) = (stage.read("good.xml"), stage.read("bad.xml"));
    let built_in = stage.json("good/result.json")["assertions"].as_array().unwrap().len();
    assert_eq!(good.matches("<testcase ").count(), built_in, "{good}");
    assert!(good.contains("failures=\"0\" errors=\"0\""), "{good}");
    assert_eq!(bad.matches("<testcase ").count(), built_in + 1, "{bad}");
    assert_eq!(bad.matches("<failure type=\"assertion\"").count(), 1, "{bad}");
    assert_eq!(stage.run(&["report", "bad", "--format", "junit"]).ended(0).out, bad);
    let alone = stage.run(&["run", "few.toml", "--junit", "-", "-o", "r"]).ended(0);
    assert!(alone.out.starts_with("<?xml ") && alone.out.ends_with("</testsuites>\n"), "{}", alone.out);
}

#[test]
fn a_junit_schema_takes_it() {
    let Some(python) = readers::python_with("xmlschema") else { return };
    let stage = Stage::new();
    for name in reports(&stage) {
        let path = stage.path(name).display().to_string();
        assert_eq!(readers::run(&python, VALIDATE, &[SCHEMA, &path]), "");
    }
    stage.put("wrong.xml", stage.read("good.xml").replace("testcase", "testkase"));
    let path = stage.path("wrong.xml").display().to_string();
    assert_ne!(readers::run(&python, VALIDATE, &[SCHEMA, &path]), "", "the schema refuses what is none");
}
