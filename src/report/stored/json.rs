//! Writes `result.json`, reads it, and returns its schema.

use super::{RunResult, SCHEMA_VERSION};
use crate::report::format;

/// The largest whole number that every reader of JSON keeps exactly (RFC 8259 6). Readers that only have floating
/// point, such as JavaScript and jq, round larger numbers.
pub const MOST_INTEGER: u64 = (1 << 53) - 1;

/// Why a stored result cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text is not JSON.
    #[error("it is no JSON: {0}")]
    Json(serde_json::Error),
    /// The result has no version.
    #[error("it has no schema_version: it is no result of smtpress")]
    NoVersion,
    /// The result has a version that this program does not know.
    #[error(
        "it has schema_version {found}, and this smtpress reads up to {SCHEMA_VERSION}: use the version that wrote it, or a later one"
    )]
    Version {
        /// The version of the result.
        found: u64,
    },
    /// The version is known, but the fields do not fit it.
    #[error("it is not of the shape of schema_version {SCHEMA_VERSION}: {0}")]
    Shape(serde_json::Error),
}

/// Returns the result as indented text with a line end. The fields are in the order of the types.
pub fn write(result: &RunResult) -> String {
    let mut text = format::harmless_json(
        serde_json::to_string_pretty(result).expect("a result has only text keys and plain values"),
    );
    text.push('\n');
    text
}

/// Reads a stored result. Fields that a later program added are ignored.
///
/// # Errors
/// The text is not a result, or has another version. The version is checked first.
pub fn read(text: &str) -> Result<RunResult, ReadError> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(ReadError::Json)?;
    match value.get("schema_version").and_then(serde_json::Value::as_u64) {
        None => Err(ReadError::NoVersion),
        Some(found) if found == u64::from(SCHEMA_VERSION) => {
            serde_json::from_value(value).map_err(ReadError::Shape)
        }
        Some(found) => Err(ReadError::Version { found }),
    }
}

/// Returns the JSON Schema (2020-12) of `result.json`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(RunResult).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn every_result_fits_the_schema_and_a_broken_one_does_not() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for result in fixtures::all() {
            let value: serde_json::Value = serde_json::from_str(&write(&result)).unwrap();
            let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
        let mut value = serde_json::to_value(fixtures::accepted()).unwrap();
        value["verdict"]["status"] = "splendid".into();
        assert!(!validator.is_valid(&value));
        value["verdict"]["status"] = "pass".into();
        assert!(validator.is_valid(&value));
        value["phases"][0].as_object_mut().unwrap().remove("in_doubt");
        assert!(!validator.is_valid(&value));
    }

    #[test]
    fn the_names_of_the_contract_are_there() {
        let value = serde_json::to_value(fixtures::limit_enforced()).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let has = |value: &serde_json::Value, names: &str| {
            let keys = keys(value);
            for name in names.split_whitespace() {
                assert!(keys.iter().any(|key| key == name), "{name} is not among {keys:?}");
            }
        };
        has(
            &value,
            "schema_version tool run_id profile validity verdict phases metrics conditions assertions generator ledger \
             limits capacity",
        );
        has(&value["profile"], "name sha256 seed schedule_sha256");
        has(&value["validity"], "status reasons");
        has(&value["verdict"], "status exit_code");
        has(
            &value["phases"][0],
            "name warmup window_s unit scheduled shed started accepted expected deferred rejected refused dropped timed_out \
             in_doubt malformed interrupted offered_per_s started_per_s accepted_per_s drained transactions sessions recipients bytes",
        );
        has(
            &value["phases"][0]["transactions"],
            "attempted accepted expected deferred rejected dropped timed_out in_doubt malformed interrupted",
        );
        has(&value["phases"][0]["sessions"], "opened established refused closed_by_peer peak");
        has(&value["metrics"][0], "phase name outcome count min_ns max_ns mean_ns percentiles hdr_base64");
        has(&value["metrics"][0]["percentiles"][0], "q value_ns low_ns high_ns status");
        has(
            &value["conditions"][0],
            "phase step condition code enhanced outcome expected count first_s last_s sample",
        );
        has(&value["assertions"][0], "expr phase observed status");
        has(
            &value["generator"],
            "cpu_share cpu_user_s cpu_system_s lag_p99_ns peak_descriptors peak_rss_bytes ports_used allowed_cores \
             loop_delay_p99_ns loop_delay_max_ns stalled_s cpu_wait_s throttled_periods throttled_s stolen_s",
        );
        let searched = serde_json::to_value(fixtures::searched()).unwrap();
        has(
            &searched["limits"][0],
            "name value at_least at_most unit expected verdict shown_by reply code enhanced condition step closed \
             inside_alive release_ms trials repeats",
        );
        has(&searched["capacity"], "by goals trials");
        has(&searched["capacity"]["goals"][0], "name lower upper unit status");
        assert_eq!(searched["limits"][0]["verdict"], "as-expected");
        assert_eq!(value["metrics"][4]["percentiles"][3]["status"], "n/a");
        assert_eq!(value["metrics"][0]["percentiles"][3]["status"], "at-least");
    }

    #[test]
    fn a_result_is_read_back_and_what_a_later_program_added_is_passed_over() {
        for result in fixtures::all() {
            assert_eq!(read(&write(&result)).unwrap(), result);
        }
        let mut value = serde_json::to_value(fixtures::accepted()).unwrap();
        value["novelty"] = true.into();
        value["phases"][0]["novelty"] = 1.into();
        assert_eq!(read(&value.to_string()).unwrap(), fixtures::accepted());
    }

    #[test]
    fn the_version_is_looked_at_before_the_shape() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert!(error(r#"{"schema_version": 2, "entirely": "other"}"#).contains("has schema_version 2"));
        assert!(error(r#"{"entirely": "other"}"#).contains("no schema_version"));
        assert!(error(r#"{"schema_version": 1}"#).contains("not of the shape"));
        assert!(error("{").contains("no JSON"));
    }
}
