//! `[capacity]`: a search for the highest load that meets the goals.

use crate::experiment::capacity::Knob;
use crate::profile::bounds;
use crate::profile::table::{Word, tables, words};
use crate::profile::units::{Percent, SearchSetting, Time};

words! {
    /// The parameter that a capacity search varies.
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
        /// The parameter that is varied from trial to trial.
        by: Word<Knob>, or Word(Knob::Rate);
        /// The load of the first trial: a rate, a number of sessions or a size. Default 20/s, 1 or 4KiB.
        start: SearchSetting;
        /// The largest load. Default 5000/s, 1000 or 64MiB.
        max: SearchSetting;
        /// The final gap between the two bounds, as a share of the upper one.
        width: Percent, or Percent(5.0), if bounds::width;
        /// The length of a trial.
        trial: Time, or Time::seconds(20), if bounds::trial;
        /// The trial time that decides on a load. Default: three times `trial`.
        duration_sum: Time;
        /// The length of the trial that confirms the result; 0: no confirmation. Default: `trial`, at
        /// least 60s.
        confirm: Time;
        /// In a search by rate: a load is also too high if the backlog of unfinished arrivals grows, and with
        /// `[receive]` if the relay's queue grows or less than 99 % is accepted. false: the backlog may grow, for
        /// bursts.
        sustained: bool, or true;
        /// The length of the warm-up before the first trial.
        warmup: Time, or Time::seconds(10);
        /// The longest wait between two trials until the idle listener is as fast as at the start; with `[receive]` it
        /// starts when the relay's queue is empty, which is awaited for `drain` at most.
        cooldown_max: Time, or Time::seconds(60);
        /// The longest time of the whole search.
        deadline: Time, or Time::seconds(20 * 60);
        /// A shell command that runs before each trial except the first, for example to flush a queue. If it fails, the
        /// search ends.
        between_trials: String, if bounds::command;
        /// The goals that a load must meet. Needed, here or by `--goal`.
        goals: Vec<Goal>, or Vec::new();
    }
    /// A goal that a load must meet.
    Goal {
        /// The name.
        name: String, if bounds::plain_name;
        /// The objective: "response p99 < 500ms". Needed.
        slo: String;
        /// The share of arrivals that need not be accepted, in addition to those that the objective allows to be slow.
        failures: Percent, or Percent(0.0), if bounds::failures;
    }
}
