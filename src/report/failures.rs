//! `failures.jsonl`: one object for each condition, with first and last time, count and sample reply, for `grep` and
//! `jq`.

use super::format;
use super::stored::RunResult;

/// Returns the conditions of a run, one JSON object a line, in the order of the result.
pub fn write(result: &RunResult) -> String {
    let mut text = String::new();
    for row in &result.conditions {
        let row = serde_json::to_string(row).expect("a row has only text keys and plain values");
        text.push_str(&format::harmless_json(row));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;
    use crate::report::stored::StoredCondition;

    #[test]
    fn each_condition_is_one_line_even_if_its_reply_has_several() {
        let result = fixtures::limit_enforced();
        let rows: Vec<StoredCondition> =
            write(&result).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows, result.conditions);
        assert!(rows.iter().any(|row| row.sample.contains('\n')));
        assert_eq!(write(&fixtures::accepted()), "");
    }
}
