//! Checks whether a phase's `connect_rate` is enough for its arrivals, and whether a run lasts until its first retry.

use std::time::Duration;

use crate::load::LoadModel;
use crate::plan::{Messages, Phase, Plan, Unit};

/// Returns a sentence for each phase whose `connect_rate` is below the connections that its arrivals need.
pub fn too_slow(plan: &Plan) -> Vec<String> {
    plan.phases.iter().filter_map(|phase| of_phase(phase, &plan.messages)).collect()
}

/// Returns a sentence if the run ends before any message is tried again.
pub fn never_retried(plan: &Plan) -> Option<String> {
    let retry = plan.retry.as_ref()?;
    let first = retry.schedule.pause_after(1)?;
    let length: Duration = plan.phases.iter().map(|phase| phase.load.length).sum::<Option<_>>()?;
    let wait = retry.wait.unwrap_or(plan.phases.last()?.graceful_stop);
    (first >= length + wait).then(|| {
        format!(
            "no message is tried again: the first retry comes {first:?} after an attempt, and the run ends after {length:?} and \
             a wait of {wait:?}: lower session.retry.time_scale, or raise session.retry.wait"
        )
    })
}

fn of_phase(phase: &Phase, messages: &Messages) -> Option<String> {
    let allowed = phase.connect_rate?;
    let offered = match &phase.load.model {
        LoadModel::Rate { curve, .. } => curve.peak(),
        LoadModel::Burst { size, every } if !every.is_zero() => *size as f64 / every.as_secs_f64(),
        // A single burst may wait for its connections. A closed load starts no more than its sessions serve. Held
        // sessions are opened once, and may open late.
        LoadModel::Burst { .. }
        | LoadModel::Held { .. }
        | LoadModel::Sessions { .. }
        | LoadModel::Shared { .. } => return None,
    };
    let each = match phase.unit {
        Unit::Session => 1.0,
        Unit::Message => mean(messages)?,
    };
    let needed = offered / each;
    (allowed < needed).then(|| {
        let unit = phase.unit.as_str();
        let carried = match phase.unit {
            Unit::Session => String::new(),
            Unit::Message => match messages {
                Messages::Fixed(_) => format!(", at most {} a session", number(each)),
                _ => format!(", {} a session on average", number(each)),
            },
        };
        format!(
            "phase `{}` offers up to {} {unit}s a second{carried}: that takes {} connections a second, and connect_rate allows \
             {}; arrivals will wait longer and longer, and those that wait past graceful_stop are shed: raise connect_rate, \
             lower the rate{}",
            phase.name,
            number(offered),
            number(needed),
            number(allowed),
            if phase.unit == Unit::Message { ", or raise session.messages" } else { "" }
        )
    })
}

/// Returns the mean number of messages of a session; `None` if it is unlimited.
fn mean(messages: &Messages) -> Option<f64> {
    let mean = match messages {
        Messages::Unlimited => return None,
        Messages::Fixed(n) => f64::from(*n),
        Messages::Uniform { min, max } => f64::midpoint(f64::from(*min), f64::from(*max)),
        Messages::Weighted(shares) => {
            let all: f64 = shares.iter().map(|(_, weight)| weight).sum();
            shares.iter().map(|(n, weight)| f64::from(*n) * weight).sum::<f64>() / all
        }
    };
    Some(mean.max(1.0))
}

fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Shard;
    use crate::profile::{Context, Document, Purpose, compile};

    fn said(phase: &str, session: &str) -> Vec<String> {
        let text = format!(
            "schema = 1\n[target]\naddress = \"embedded\"\n[session]\n{session}\n[[phase]]\nname = \"p\"\n{phase}\n"
        );
        let document = Document::parse("p.toml", &text).unwrap();
        let context =
            Context { purpose: Purpose::Run, seed: 1, run_id: "run".into(), threads: 1, shard: Shard::WHOLE };
        too_slow(&compile(&document, &context).unwrap().plan)
    }

    #[test]
    fn a_schedule_whose_first_retry_the_run_does_not_reach_is_named() {
        let said = |retry: &str| {
            let phase = "[[phase]]\nname = \"p\"\nload = \"constant-rate\"\nrate = \"10/s\"\nfor = \"5s\"\ngraceful_stop = \"1s\"";
            let text =
                format!("schema = 1\n[target]\naddress = \"embedded\"\n[session.retry]\n{retry}\n{phase}\n");
            let document = Document::parse("p.toml", &text).unwrap();
            let context = Context {
                purpose: Purpose::Run,
                seed: 1,
                run_id: "run".into(),
                threads: 1,
                shard: Shard::WHOLE,
            };
            never_retried(&compile(&document, &context).unwrap().plan)
        };
        let late = said("schedule = \"5m\"").unwrap();
        assert!(["300s", "5s", "1s", "time_scale"].iter().all(|part| late.contains(part)), "{late}");
        assert_eq!(said("schedule = \"postfix\"\ntime_scale = 0.01"), None);
        assert_eq!(said("schedule = \"5m\"\nwait = \"5m\""), None);
    }

    #[test]
    fn a_rate_of_connections_below_that_of_the_arrivals_is_named() {
        let rate = "load = \"constant-rate\"\nrate = \"100/s\"\nfor = \"5s\"\n";
        let session = format!("{rate}unit = \"session\"\n");
        let named = |phase: &str, session: &str, parts: &[&str]| {
            let said = said(phase, session);
            assert!(said.len() == 1 && parts.iter().all(|part| said[0].contains(part)), "{said:?}");
        };
        let parts = ["`p`", "100 sessions a second", "100 connections", "allows 20;"];
        named(&format!("{session}connect_rate = \"20/s\""), "", &parts);
        let parts = ["100 messages", "at most 4 a session", "25 connections", "session.messages"];
        named(&format!("{rate}connect_rate = \"20/s\""), "messages = 4", &parts);
        named(
            &format!("{rate}connect_rate = \"20/s\""),
            "messages = { min = 1, max = 3 }",
            &["2 a session on average", "50 connections"],
        );
        named(
            "load = \"burst\"\nsize = 500\nevery = \"10s\"\nfor = \"20s\"\nconnect_rate = \"49/s\"",
            "messages = 1",
            &["50 messages", "allows 49"],
        );
        named(
            "load = \"ramping-rate\"\nfrom = \"1/s\"\nto = \"90/s\"\nfor = \"9s\"\nunit = \"session\"\nconnect_rate = \"60/s\"",
            "",
            &["up to 90 sessions"],
        );
        for (phase, messages) in [
            (format!("{session}connect_rate = \"100/s\""), ""),
            (format!("{rate}connect_rate = \"20/s\""), "messages = 5"),
            (format!("{rate}connect_rate = \"50/s\""), "messages = { min = 1, max = 3 }"),
            (session.clone(), ""),
            (
                "load = \"constant-sessions\"\nsessions = 50\nfor = \"5s\"\nconnect_rate = \"1/s\""
                    .to_owned(),
                "",
            ),
        ] {
            assert_eq!(said(&phase, messages), [""; 0], "{phase} {messages}");
        }
    }
}
