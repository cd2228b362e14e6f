//! The host of a search for the capacity: it provides threads, clock, run directory, the user's command and the screen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::CapacityView;
use crate::collector::agents::AgentProgress;
use crate::collector::snapshot::{Hindrance, Interval, Measured};
use crate::collector::tally::Tally;
use crate::command::behind_relay::BehindRelay;
use crate::command::display::Display;
use crate::command::messages::MessageSink;
use crate::event::shell::{CommandLog, Surroundings};
use crate::event::{CommandEnd, ShellCommand};
use crate::experiment::capacity::describe;
use crate::experiment::capacity::goal::GoalVerdict;
use crate::experiment::capacity::{CapacityPlan, SearchEvent, SearchHost, SearchState, TrialRecord};
use crate::generator::{Control, Observer, RunError, RunStart, Runner, Stop, clock};
use crate::plan::Plan;
use crate::plan::silence::Lookout;
use crate::report::format;
use crate::report::run_dir::{HOOK_LOG, RunDir, RunDirError, SEARCH};
use crate::report::stored::{Generator, RunResult};

/// The interval at which the user's stop is checked.
const GLANCE: Duration = Duration::from_millis(20);
/// The largest number of dialogues that are kept as evidence.
const MOST_TRANSCRIPTS: usize = 200;

/// This machine as the host of a search.
pub struct LocalHost<'a> {
    pub runner: BehindRelay<Box<dyn Runner>>,
    pub stop: watch::Receiver<Stop>,
    pub view: &'a CapacityView<'a>,
    pub directory: &'a RunDir,
    /// Makes the result that is stored in case the search is cut off.
    pub so_far: &'a dyn Fn(&SearchState) -> RunResult,
    pub asked: &'a CapacityPlan,
    pub began: Instant,
    /// How long the search took before it was interrupted.
    pub before: Duration,
    /// The first failure to store the search.
    pub unkept: Option<RunDirError>,
    pub transcripts: Vec<(String, String)>,
    /// The generator's resource use over all runs.
    pub health: Generator,
    /// The CPU seconds that were available to the generator.
    pub allowed_s: f64,
    /// The worst standstill of the generator.
    pub hindrance: Option<Hindrance>,
    /// Whether the next run is shown.
    pub seen: bool,
    /// Whether the silence of the listener was reported.
    pub silent: bool,
    /// The log of the last command between trials.
    pub left_over: Option<BoundedLog>,
}

/// A thread that keeps the log of a command bounded while processes that the command left running may write to it. It ends
/// when this is dropped.
#[derive(Debug)]
pub struct BoundedLog {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BoundedLog {
    fn start(mut log: CommandLog) -> BoundedLog {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let keep = move || {
            log.bound_until(|| over.load(Ordering::Relaxed));
        };
        // Without a thread the log is bounded again by the next command.
        let thread = std::thread::Builder::new().name("left-over".to_owned()).spawn(keep).ok();
        BoundedLog { is_over, thread }
    }
}

impl Drop for BoundedLog {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // A panic was printed when it happened.
        self.thread.take().map(JoinHandle::join);
    }
}

impl Runner for LocalHost<'_> {
    fn run(&mut self, plan: &Plan, observer: &mut dyn Observer) -> Result<Measured, RunError> {
        let display = if std::mem::take(&mut self.seen) { (self.view.display)(plan) } else { None };
        let Some((display, messages)) = display else {
            let measured = self.runner.run(plan, observer)?;
            self.own(&measured);
            return Ok(measured);
        };
        let lookout = Lookout::new(plan);
        let mut both = Both { display, messages, observer, lookout, silent: &mut self.silent };
        both.display.begin();
        let measured = self.runner.run(plan, &mut both);
        both.display.end();
        let measured = measured?;
        self.own(&measured);
        let name = &plan.phases[0].name;
        let kept = measured.transcripts.iter().map(|(stem, text)| (format!("{name}-{stem}"), text.clone()));
        let before = self.transcripts.len();
        self.transcripts.extend(kept.take(MOST_TRANSCRIPTS.saturating_sub(before)));
        // All transcripts are written again at the end, and a failure is reported then.
        self.directory.keep_transcripts(&self.transcripts[before..]).ok();
        Ok(measured)
    }
}

/// Passes a run to another observer, and shows it.
struct Both<'a> {
    display: Box<dyn Display>,
    messages: MessageSink,
    observer: &'a mut dyn Observer,
    lookout: Lookout,
    silent: &'a mut bool,
}

impl Observer for Both<'_> {
    fn begins(&mut self, start: &RunStart) {
        self.observer.begins(start);
    }

    fn agents(&mut self, agents: &[AgentProgress]) {
        self.display.agents(agents);
        self.observer.agents(agents);
    }

    fn load_over(&mut self) {
        self.observer.load_over();
    }

    fn transcripts(&mut self, transcripts: &[(String, String)]) {
        self.observer.transcripts(transcripts);
    }

    fn interval(&mut self, interval: &Interval, total: &Tally) -> Control {
        self.display.second(interval, total);
        if let Some(sentence) = self.lookout.second(interval, total)
            && !std::mem::replace(self.silent, true)
        {
            self.messages.say(&format!("smtpress: {sentence}"));
        }
        self.observer.interval(interval, total)
    }
}

impl SearchHost for LocalHost<'_> {
    fn elapsed(&self) -> Duration {
        self.before + (clock::now() - self.began)
    }

    fn wait(&mut self, time: Duration) {
        let until = clock::now() + time;
        while !self.stopped() {
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(GLANCE));
        }
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow() > Stop::Run
    }

    fn between(&mut self, command: &ShellCommand, number: usize) -> Result<(), String> {
        self.left_over = None;
        let path = self.directory.files().join(HOOK_LOG);
        let trial = format!("before trial {number}: {}", command.text);
        self.say(&format!("  {trial}"));
        let began = self.elapsed();
        let must_end = || self.elapsed() > self.asked.deadline || *self.stop.borrow() > Stop::Drain;
        let (end, log) = command.run(&Surroundings {
            log: &path,
            title: &trial,
            variable: ("SMTPRESS_TRIAL", &number.to_string()),
            took: &|| self.elapsed() - began,
            halt: &|| must_end().then_some(CommandEnd::Stopped),
        });
        self.left_over = log.map(BoundedLog::start);
        if end.is_success() {
            return Ok(());
        }
        let how = match end {
            CommandEnd::Stopped => "was still running when the search had to end".to_owned(),
            end => end.to_string(),
        };
        Err(format!(
            "between_trials, before trial {number}: {:?} {how}; its output is in {}",
            command.text,
            path.display()
        ))
    }

    fn keep(&mut self, state: &SearchState) {
        let text = serde_json::to_string_pretty(state).expect("a search has a JSON form");
        let kept = self.directory.put(SEARCH, &format!("{text}\n"));
        if let Err(error) = kept.and_then(|()| self.directory.keep(&(self.so_far)(state))) {
            self.unkept.get_or_insert(error);
        }
    }

    fn notify(&mut self, event: SearchEvent<'_>, state: &SearchState) {
        self.seen |= matches!(event, SearchEvent::Started(_) | SearchEvent::WarmUp);
        match event {
            SearchEvent::WarmUp => {
                let rules = &self.asked.rules;
                let load = self.asked.format_load(rules.start);
                self.say(&format!(
                    "  warming up at {load} for {}",
                    format::seconds(self.asked.warmup.as_secs_f64())
                ));
            }
            SearchEvent::Started(ask) => {
                let left = self.asked.deadline.saturating_sub(self.elapsed());
                self.say(&format!(
                    "  trial {}: {} for {} ({}); {}; at most {} left",
                    state.records.len() + 1,
                    self.asked.format_load(ask.load),
                    format::seconds(ask.seconds),
                    ask.why.as_str(),
                    self.bracket(state),
                    format::seconds(left.as_secs_f64())
                ));
            }
            SearchEvent::Ended(record) => self.say(&format!("    {}", self.judged(record))),
            SearchEvent::CoolDown => self.say("    waiting until the backlog is gone"),
        }
    }
}

impl LocalHost<'_> {
    /// Adds up the resource use of the generator.
    fn own(&mut self, Measured { health, took, .. }: &Measured) {
        let own = &mut self.health;
        own.cpu_user_s += health.cpu_user_s;
        own.cpu_system_s += health.cpu_system_s;
        // The share is the mean over all runs, because a very short run spends most of its time on its start.
        self.allowed_s += health.allowed_cores * took.as_secs_f64();
        own.cpu_share = (own.cpu_user_s + own.cpu_system_s) / self.allowed_s.max(1e-9);
        own.allowed_cores = health.allowed_cores;
        self.hindrance =
            self.hindrance.into_iter().chain(health.hindrances.iter().copied()).reduce(Hindrance::worst);
        own.peak_descriptors = own.peak_descriptors.max(health.peak_descriptors);
        own.peak_rss_bytes = own.peak_rss_bytes.max(health.peak_rss_bytes);
        own.ports_used += health.ports_used;
        own.clock_drift_ns = own.clock_drift_ns.max(health.clock_drift_ns);
    }

    fn say(&self, line: &str) {
        self.view.narration.say(line);
    }

    /// Returns the current bounds of each goal, in words.
    fn bracket(&self, state: &SearchState) -> String {
        let goal = |index: usize| {
            let told = |load: Option<f64>| load.map_or("?".to_owned(), |load| self.asked.format_load(load));
            let (low, high) = state.controller.gap(index);
            format!("{} between {} and {}", self.asked.goals[index].name, told(low), told(high))
        };
        (0..self.asked.goals.len()).map(goal).collect::<Vec<_>>().join(", ")
    }

    /// Returns the result of a trial, in words.
    fn judged(&self, record: &TrialRecord) -> String {
        if let Some(reason) = record.invalid.first() {
            return format!("invalid, {}: this trial says nothing about the listener", reason.code);
        }
        let goals = self.asked.goals.iter().zip(&record.goals);
        let goals: Vec<String> = goals
            .map(|(goal, verdict)| {
                let word = match verdict {
                    GoalVerdict { good: true, .. } => "met",
                    GoalVerdict { unsustained: true, .. } => "MISSED (unsustained)",
                    GoalVerdict { undelivered: true, .. } => "MISSED (undelivered)",
                    _ => "MISSED",
                };
                format!("{} {word}", goal.name)
            })
            .collect();
        let (name, ns) = record.p99_ns.map_or(("max", record.max_ns), |ns| ("p99", Some(ns)));
        let time = ns.map_or("n/a".to_owned(), |ns| format::duration(ns as f64));
        let missed = record.scheduled.saturating_sub(record.accepted);
        let mut line = format!(
            "{}; {name} {time}, accepted {}, failed {}",
            goals.join(", "),
            format::rate(record.accepted_per_s),
            format::share(missed, record.scheduled)
        );
        for (name, growth) in record.grown() {
            line.push_str(&format!("; {name} grew by {}", describe::in_words(&growth)));
        }
        if record.refused_sessions > 0 {
            line.push_str(&format!("; {} sessions refused", format::count(record.refused_sessions)));
        }
        if let Some(delivery) = &record.delivery {
            line.push_str(&format!("; {} queued at the end", format::count(delivery.queued_at_end)));
            delivery.failed.iter().for_each(|failed| line.push_str(&format!("; {failed}")));
        }
        if record.ended_early {
            line.push_str("; cut short");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::collector::agents::AgentRun;
    use crate::load::Shard;
    use crate::profile::{Context, Document, Purpose, compile};

    /// Writes down which agents it is shown.
    struct Noted(Arc<Mutex<Vec<String>>>);

    impl Noted {
        fn note(&self, agents: &[AgentProgress]) {
            self.0.lock().unwrap().extend(agents.iter().map(|agent| agent.run.name.clone()));
        }
    }

    impl Display for Noted {
        fn begin(&mut self) {}
        fn second(&mut self, _: &Interval, _: &Tally) {}
        fn agents(&mut self, agents: &[AgentProgress]) {
            self.note(agents);
        }
        fn end(&mut self) {}
    }

    impl Observer for Noted {
        fn interval(&mut self, _: &Interval, _: &Tally) -> Control {
            Control::Continue
        }
        fn agents(&mut self, agents: &[AgentProgress]) {
            self.note(agents);
        }
    }

    #[test]
    fn the_agents_of_a_trial_are_shown_and_passed_on() {
        let text = "schema = 1\n[target]\naddress = \"embedded\"\n[[phase]]\nload = \"constant-rate\"\nrate = \"1/s\"\nfor = \"1s\"\n";
        let document = Document::parse("p.toml", text).unwrap();
        let context =
            Context { purpose: Purpose::Run, seed: 1, run_id: "run".into(), threads: 1, shard: Shard::WHOLE };
        let plan = compile(&document, &context).unwrap().plan;
        let (shown, passed) = (Arc::default(), Arc::default());
        let mut observer = Noted(Arc::clone(&passed));
        let mut both = Both {
            display: Box::new(Noted(Arc::clone(&shown))),
            messages: MessageSink::none(),
            observer: &mut observer,
            lookout: Lookout::new(&plan),
            silent: &mut false,
        };
        let run = AgentRun::named("load1", "host", "0", 0);
        both.agents(&[AgentProgress { run, sessions: 1, lag: Duration::ZERO }]);
        assert_eq!(
            (&*shown.lock().unwrap(), &*passed.lock().unwrap()),
            (&vec!["load1".to_owned()], &vec!["load1".to_owned()])
        );
    }
}
