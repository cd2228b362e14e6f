//! Checks the table of docs/tested-with.md: it must have exactly the entries of the tests here.
//!
//! Above each test there is a line `// Table: LISTENER: WORD, WORD` for every listener that it runs against.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::listener::{missing, program};
use crate::{aiosmtpd, dovecot, exim, haraka, opensmtpd, scraped, slurm};

/// The words, in the order of the table.
const WORDS: [&str; 25] = [
    "SMTP",
    "LMTP",
    "unix socket",
    "STARTTLS",
    "implicit TLS",
    "TLS that fails",
    "AUTH",
    "PIPELINING",
    "CHUNKING",
    "XCLIENT",
    "PROXY",
    "limits",
    "limits found",
    "all limits",
    "smuggling",
    "capacity",
    "time-outs",
    "postscreen",
    "standstill and death",
    "trace",
    "relay",
    "greylisting",
    "metrics scraped",
    "native histograms",
    "shards of a load",
];

/// The listeners and the other programs, in the order of the table.
const LISTENERS: [&str; 14] = [
    "Postfix",
    "smtp-sink",
    "Exim",
    "OpenSMTPD",
    "Dovecot LMTP",
    "Dovecot submission",
    "aiosmtpd",
    "Sendmail",
    "Courier",
    "qpsmtpd",
    "Haraka",
    "smtp-server",
    "Prometheus",
    "Slurm",
];

/// The words of each listener in the tests.
fn said() -> BTreeMap<String, BTreeSet<String>> {
    let mut said = BTreeMap::<String, BTreeSet<String>>::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // These files have no rows: `openssl s_server`, which has the odd certificates, and a fleet's nats-server are
        // no mail listeners, and a relay with faults is no product.
        let apart = [
            "table.rs",
            "odd_certificates.rs",
            "faults_of_relays.rs",
            "delivery_log.rs",
            "clock_probe.rs",
            "relay_capacity.rs",
        ]
        .iter()
        .any(|name| path.ends_with(name))
            || path.file_name().unwrap().to_string_lossy().starts_with("fleet");
        if apart || path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let mut named = false;
        for line in source.lines() {
            if let Some(row) = line.strip_prefix("// Table: ") {
                let (listener, words) = row.split_once(": ").unwrap_or_else(|| panic!("{row}"));
                said.entry(listener.to_owned()).or_default().extend(words.split(", ").map(str::to_owned));
                named = true;
            } else if line == "#[test]" {
                assert!(named, "a test without a `// Table: ` line in {}", path.display());
                named = false;
            }
        }
    }
    said
}

/// The rows of the page's table: listener, version, words.
fn written() -> Vec<[String; 3]> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tested-with.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")).skip(1);
    rows.map(|row| {
        let cells: Vec<String> = row.split(" | ").map(str::to_owned).collect();
        <[String; 3]>::try_from(cells).unwrap_or_else(|cells| panic!("three cells in {cells:?}"))
    })
    .collect()
}

// The test fails if the page and the tests differ.
#[test]
fn the_readme_says_what_the_tests_do() {
    let said = said();
    let expected: Vec<(String, String)> = LISTENERS
        .iter()
        .map(|listener| {
            let words = said.get(*listener).unwrap_or_else(|| panic!("no test for {listener}"));
            let known: Vec<&str> = WORDS.into_iter().filter(|word| words.contains(*word)).collect();
            assert_eq!(known.len(), words.len(), "a word that is not in WORDS among {words:?}");
            ((*listener).to_owned(), known.join(", "))
        })
        .collect();
    assert_eq!(said.len(), LISTENERS.len(), "a listener that is not in LISTENERS among {said:?}");
    let written: Vec<(String, String)> =
        written().into_iter().map(|[listener, _, words]| (listener, words)).collect();
    assert_eq!(written, expected);
}

/// The commands that print the version of a listener in a root folder, and of one from npm.
const CHROOT: &[&str] = &["/usr/sbin/chroot"];
const SENDMAIL: &[&str] =
    &["target/real-listeners/sendmail", "/usr/libexec/sendmail/sendmail", "-C/dev/null", "-d0.1", "-bt"];
const COURIER: &[&str] = &[
    "target/real-listeners/courier",
    "grep",
    "-ao",
    "Courier [0-9][0-9.]*",
    "/usr/lib/courier/courier/courierd",
];
const QPSMTPD: &[&str] =
    &["target/real-listeners/qpsmtpd", "perl", "-MQpsmtpd", "-e", "print Qpsmtpd->version, qq(\n)"];
const HARAKA: &[&str] =
    &["-p", "require('./target/real-listeners/npm/node_modules/Haraka/package.json').version"];
const SMTP_SERVER: &[&str] =
    &["-p", "require('./target/real-listeners/npm/node_modules/smtp-server/package.json').version"];

/// The version of an installed listener, by its own output.
fn version(listener: &str) -> Option<String> {
    let (candidates, arguments) = match listener {
        "Postfix" | "smtp-sink" => (&["/usr/sbin/postconf"][..], &["-d", "-h", "mail_version"][..]),
        "Exim" => (&[exim::PROGRAM][..], &["-C", "/dev/null", "-bV"][..]),
        "OpenSMTPD" => (&[opensmtpd::PROGRAM][..], &["-h"][..]),
        "Dovecot LMTP" | "Dovecot submission" => (&[dovecot::PROGRAM][..], &["--version"][..]),
        "aiosmtpd" => (&[aiosmtpd::PROGRAM][..], &["-c", "import aiosmtpd; print(aiosmtpd.__version__)"][..]),
        "Sendmail" => (CHROOT, SENDMAIL),
        "Courier" => (CHROOT, COURIER),
        "qpsmtpd" => (CHROOT, QPSMTPD),
        "Haraka" => (&[haraka::NODE][..], HARAKA),
        "smtp-server" => (&[haraka::NODE][..], SMTP_SERVER),
        "Prometheus" => (scraped::PROGRAMS, &["--version"][..]),
        "Slurm" => (slurm::PROGRAMS, &["-V"][..]),
        other => panic!("how {other} tells its version is not known"),
    };
    let Some(program) = program(candidates) else {
        return missing(&format!("{listener} is not installed"));
    };
    let output =
        Command::new(program).args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // The first word with a digit at its start and a dot, except on lines of warnings.
    let words = said.lines().filter(|line| !line.contains("Warning")).flat_map(str::split_whitespace);
    let versions = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    let version: String = versions.take(1).collect();
    if version.is_empty() { missing(&format!("{listener} is not installed")) } else { Some(version) }
}

// Only the series is compared, such as 3.7, so that a security update of Debian does not make the page wrong.
#[test]
fn the_readme_names_the_versions_that_are_here() {
    for [listener, written, _] in written() {
        let Some(version) = version(&listener) else { return };
        let series = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
        assert_eq!(series(&version), series(&written), "{listener} is {version}");
    }
}
