//! The charts of each section of the page.

/// A chart.
#[derive(Clone, Copy, Debug)]
pub struct Chart {
    /// The name in the script.
    pub kind: &'static str,
    /// The title.
    pub title: &'static str,
    /// The explanation for the reader.
    pub words: &'static str,
}

/// The data that is available for charts.
#[derive(Clone, Copy, Debug)]
pub struct Charts {
    /// Whether there is a timeline of the run.
    pub has_timeline: bool,
    /// Whether the times of conditions are known.
    pub has_conditions: bool,
    /// Whether complete distributions are stored.
    pub has_spectra: bool,
    /// Whether there are trials of a capacity search.
    pub has_curve: bool,
    /// Whether some arrivals were refused.
    pub has_refusals: bool,
    /// Whether messages were tried again.
    pub has_retries: bool,
    /// Whether there was a receiver behind the relay, with known times.
    pub has_relay_times: bool,
}

/// All charts: the section, whether the chart is below the tables, and the chart.
const ALL: [(&str, bool, Chart); 16] = [
    at(
        "load",
        false,
        "rates",
        "Arrivals a second",
        "Drag to zoom, double-click to see all again; the values under the pointer are below.",
    ),
    at(
        "load",
        false,
        "occupancy",
        "At once",
        "Open sessions, arrivals in flight, and scheduled arrivals that waited for a session.",
    ),
    at("times", false, "bands", "Response time over time", ""),
    at(
        "times",
        false,
        "heat",
        "Distribution of response times",
        "The stronger the colour, the more arrivals.",
    ),
    at("times", false, "spectrum", "The slowest arrivals", "Each step to the right is ten times rarer."),
    at("steps", true, "steps", "Time in each step, over time", "Milliseconds for each arrival that ended."),
    at("outcomes", false, "outcomes", "Outcomes a second", ""),
    at(
        "outcomes",
        true,
        "refusals",
        "Refusals and open sessions",
        "Where a limit is enforced, refusals begin and the line of sessions goes flat.",
    ),
    at("outcomes", true, "levels", "Share refused, by number of open sessions", ""),
    at(
        "retries",
        false,
        "attempts",
        "Attempts a second",
        "First attempts are the load that was asked for; the retries come on top of it.",
    ),
    at(
        "retries",
        true,
        "retrying",
        "Messages that wait for their next attempt",
        "And how many attempts there were for each message that started, second by second.",
    ),
    at(
        "delivery",
        false,
        "queue",
        "The relay's queue",
        "Accepted recipients that had neither come out nor bounced. Where it grows, the relay takes more than it delivers.",
    ),
    at("delivery", false, "deliveries", "Accepted and delivered a second", "Recipients."),
    at("delivery", false, "transit", "Time in the relay", ""),
    at("conditions", false, "conditions", "Conditions a second", "By name, all phases and replies together."),
    at(
        "trials",
        false,
        "trials",
        "Response time by load",
        "Each point is a trial. The band lies between the bounds of a goal: below it the goal is met, above it missed. Where the \
         backlog grows, arrivals are offered faster than they are finished.",
    ),
];

const fn at(
    section: &'static str,
    is_below: bool,
    kind: &'static str,
    title: &'static str,
    words: &'static str,
) -> (&'static str, bool, Chart) {
    (section, is_below, Chart { kind, title, words })
}

impl Charts {
    /// Returns the charts above the tables of a section.
    pub fn before(self, section: &str) -> Vec<Chart> {
        self.of(section, false)
    }

    /// Returns the charts below the tables.
    pub fn after(self, section: &str) -> Vec<Chart> {
        self.of(section, true)
    }

    fn of(self, section: &str, below: bool) -> Vec<Chart> {
        let own = ALL.iter().filter(|(id, is_below, _)| *id == section && *is_below == below);
        own.map(|(_, _, chart)| *chart).filter(|chart| self.has(chart.kind)).collect()
    }

    fn has(self, kind: &str) -> bool {
        match kind {
            "spectrum" => self.has_spectra,
            "trials" => self.has_curve,
            "conditions" => self.has_conditions,
            "attempts" | "retrying" => self.has_timeline && self.has_retries,
            "queue" | "deliveries" | "transit" => self.has_timeline && self.has_relay_times,
            "refusals" | "levels" => self.has_timeline && self.has_refusals,
            _ => self.has_timeline,
        }
    }
}
