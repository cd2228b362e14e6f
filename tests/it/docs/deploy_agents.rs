//! Tests of the files in `deploy/` that start agents: the manifest can be read, systemd accepts the unit, and smtpress
//! accepts the commands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use smtpress::cli::understands;

use crate::reports::readers;

const READ: &str = r#"
import json, sys, yaml
print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))
"#;

fn path(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name).display().to_string()
}

/// The words of a command line.
fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

#[test]
fn the_manifest_of_the_agents_is_read_and_each_pod_has_credentials_of_its_own() {
    let Some(python) = readers::python_with("yaml") else { return };
    let documents: Vec<Value> =
        serde_json::from_str(&readers::run(&python, READ, &[&path("kubernetes/agents.yaml")])).unwrap();
    let set = documents.iter().find(|one| one["kind"] == "StatefulSet").unwrap();
    let pod = &set["spec"]["template"];
    assert_eq!(set["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
    let service = documents.iter().find(|one| one["kind"] == "Service").unwrap();
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    let container = &pod["spec"]["containers"][0];
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    for mount in container["volumeMounts"].as_array().unwrap() {
        assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
    }
    // The line is expanded by a shell, as in the pod.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("coordinator.pub"), "UABC\n").unwrap();
    let line =
        container["args"][0].as_str().unwrap().replace("/fleet/", &format!("{}/", folder.path().display()));
    let line = line.replace("exec smtpress", "printf '%s\\n' smtpress");
    let name = set["metadata"]["name"].as_str().unwrap();
    let text = fs::read_to_string(path("kubernetes/agents.yaml")).unwrap();
    for pod in 0..set["spec"]["replicas"].as_u64().unwrap() {
        let expanded =
            Command::new("sh").args(["-c", &line]).env("HOSTNAME", format!("{name}-{pod}")).output();
        let expanded = String::from_utf8(expanded.unwrap().stdout).unwrap();
        let words: Vec<OsString> = expanded.lines().map(OsString::from).collect();
        understands(words.clone()).unwrap();
        let credentials = format!("agent-{}.creds", pod + 1);
        assert!(
            expanded.contains(&format!("/{credentials}\n")) && expanded.contains("\nUABC\n"),
            "{expanded}"
        );
        // The comment at the head of the manifest makes a Secret, which must have the file.
        assert!(text.contains(&format!("--from-file=fleet/{credentials}")), "{credentials}");
    }
}

#[test]
fn the_unit_of_an_agent_is_one_that_systemd_takes_and_its_command_is_understood() {
    let text = fs::read_to_string(path("systemd/smtpress-agent.service")).unwrap();
    let command = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let settings: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("#   ")?.split_once('=')).collect();
    let line = command
        .replace("${CREDENTIALS_DIRECTORY}", "/run/credentials")
        .replace("${STATE_DIRECTORY}", "/var/lib/smtpress")
        .replace("$ALLOWED", settings["ALLOWED"]);
    assert!(!line.contains('$'), "{line}");
    understands(words(&line)).unwrap();
    // The program reads the settings from variables. `--help` does not list these variables.
    let arguments = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/args/fleet.rs");
    let arguments = fs::read_to_string(arguments).unwrap();
    for setting in settings.keys().filter(|setting| **setting != "ALLOWED") {
        assert!(arguments.contains(&format!("env = \"{setting}\"")), "{setting}");
    }
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else { return };
    assert!(version.status.success());
    // On a machine that runs the tests, the program is not installed.
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("smtpress-agent.service");
    fs::write(&unit, text.replace("/usr/local/bin/smtpress", env!("CARGO_BIN_EXE_smtpress"))).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let about: Vec<&str> = said.lines().filter(|line| line.contains("smtpress-agent")).collect();
    assert!(about.is_empty(), "{said}");
}
