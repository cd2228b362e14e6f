//! `[capacity]`: a search for the highest load that meets the goals.

use crate::experiment::capacity::Knob;
use crate::profile::bounds;
use crate::profile::table::{tables, words};
use crate::profile::units::{Percent, SearchSetting, Time};

words! {
    /// What a capacity search varies.
    for Knob {
        /// The rate of arrivals.
        Rate = "rate",
        /// The number of sessions.
        Sessions = "sessions",
        /// The size of the messages, under the load of the first measured phase.
        Size = "size",
    }
}

tables! {
    /// A search for the highest load that meets the goals.
    Capacity {
        /// What is varied from trial to trial.
        by: Knob, or Knob::Rate;
        /// Where the search begins: a rate, a number of sessions or a size. Default 20/s, 1 or 4KiB.
        start: SearchSetting;
        /// Where it ends. Default 5000/s, 1000 or 64MiB.
        max: SearchSetting;
        /// How close its two bounds must come.
        width: Percent, or Percent(5.0), if bounds::width;
        /// How long a trial lasts.
        trial: Time, or Time::seconds(20), if bounds::trial;
        /// How much trial time decides. Default 60s.
        duration_sum: Time;
        /// How long the result is confirmed; 0: not at all. Default 60s.
        confirm: Time;
        /// By rate: a load is too high as well when the arrivals that are not finished grow in number, and with `[receive]` when the
        /// relay's queue grows or less than 99 % is accepted. false: they may, for bursts that may queue.
        sustained: bool, or true;
        /// How long the listener is warmed up before the first trial.
        warmup: Time, or Time::seconds(10);
        /// How long the listener may take to be as fast again as at rest, between two trials; with `[receive]` once the relay's queue
        /// is empty, which is awaited for `drain` at most.
        cooldown_max: Time, or Time::seconds(60);
        /// The longest that the whole search may take.
        deadline: Time, or Time::seconds(20 * 60);
        /// A command that the shell runs before each trial but the first: flush a queue, restart a service. When it fails,
        /// the search ends.
        between_trials: String, if bounds::command;
        /// What a load must meet. Needed, here or by `--goal`.
        goals: Vec<Goal>, or Vec::new();
    }
    /// What a load must meet.
    Goal {
        /// Its name.
        name: String, if bounds::plain_name;
        /// The objective: "response p99 < 500ms". Needed.
        slo: String;
        /// The share of arrivals that need not be accepted, beside those that the objective lets be slow.
        failures: Percent, or Percent(0.0), if bounds::failures;
    }
}
