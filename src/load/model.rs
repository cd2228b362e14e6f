//! The load models and their properties.

use std::time::Duration;

use super::Curve;

/// How the events of a rate are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly: event k is at the time when the area under the rate curve is k.
    Uniform,
    /// As a Poisson process: the areas between events are exponential with mean 1.
    Poisson,
}

/// The think time of a session of a closed load before its next arrival: uniform between two bounds, drawn by seed and
/// arrival number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Think {
    /// The shortest time.
    pub min: Duration,
    /// The longest time.
    pub max: Duration,
}

/// The load model of a phase.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadModel {
    /// Open: arrivals at a rate in 1/s over time. Constant, ramping and staircase rates use this model.
    Rate {
        /// The rate of arrivals in 1/s.
        curve: Curve,
        /// How the arrivals are spaced.
        spacing: Spacing,
    },
    /// Open: `size` arrivals at once, at 0, `every`, 2 `every`, ... If `every` is zero, there is one burst.
    Burst {
        /// The arrivals of a burst.
        size: u64,
        /// The time from burst to burst.
        every: Duration,
    },
    /// Open: this number of sessions, opened at `rate` (all at once if it is infinite), and held to the end of the
    /// phase.
    Held {
        /// The number of sessions.
        sessions: u64,
        /// The rate at which sessions are opened, in 1/s; may be infinite.
        rate: f64,
    },
    /// Closed: a number of sessions at a time. A session starts its next arrival when its last arrival has ended and its
    /// think time is over.
    Sessions {
        /// The number of sessions over time. Fractions are rounded down.
        curve: Curve,
        /// The think time between two arrivals of a session.
        think: Think,
    },
    /// Closed: `total` arrivals shared by `sessions` sessions.
    Shared {
        /// The number of arrivals.
        total: u64,
        /// The number of sessions.
        sessions: u64,
        /// The think time between two arrivals of a session.
        think: Think,
    },
}

/// The load of one phase.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseLoad {
    /// The load model.
    pub model: LoadModel,
    /// The length of the phase. `None` if it lasts until its arrivals are used up (only [`LoadModel::Shared`], and only
    /// as the last phase).
    pub length: Option<Duration>,
}

impl LoadModel {
    /// Whether the model is closed: an arrival starts when a session is free, so its times include no wait for a
    /// session.
    pub fn is_closed(&self) -> bool {
        matches!(self, LoadModel::Sessions { .. } | LoadModel::Shared { .. })
    }

    /// Whether the sessions stay open to the end of the phase.
    pub fn holds(&self) -> bool {
        matches!(self, LoadModel::Held { .. })
    }

    /// Returns the number of arrivals that ends the phase; `None` if only time ends it.
    pub fn total(&self) -> Option<u64> {
        if let LoadModel::Shared { total, .. } = self { Some(*total) } else { None }
    }

    /// Returns the sessions of a closed model at an offset from the phase's start; `None` for an open model.
    pub fn sessions_at(&self, offset: Duration) -> Option<u64> {
        match self {
            LoadModel::Sessions { curve, .. } => Some(curve.count_at(offset)),
            LoadModel::Shared { sessions, .. } => Some(*sessions),
            LoadModel::Rate { .. } | LoadModel::Burst { .. } | LoadModel::Held { .. } => None,
        }
    }

    /// Returns the most sessions at once; `None` if the model does not limit them.
    pub fn most_sessions(&self) -> Option<u64> {
        match self {
            LoadModel::Sessions { curve, .. } => Some(curve.peak() as u64),
            LoadModel::Shared { sessions, .. } | LoadModel::Held { sessions, .. } => Some(*sessions),
            LoadModel::Rate { .. } | LoadModel::Burst { .. } => None,
        }
    }

    /// Returns the highest rate of [`LoadModel::Rate`], in 1/s; `None` for another model.
    pub fn peak_rate(&self) -> Option<f64> {
        if let LoadModel::Rate { curve, .. } = self { Some(curve.peak()) } else { None }
    }

    /// Returns the curve that the model follows: a rate in 1/s, or a number of sessions.
    pub fn curve_mut(&mut self) -> Option<&mut Curve> {
        match self {
            LoadModel::Rate { curve, .. } | LoadModel::Sessions { curve, .. } => Some(curve),
            LoadModel::Burst { .. } | LoadModel::Held { .. } | LoadModel::Shared { .. } => None,
        }
    }

    /// Whether the load is constant over time, so that Little's law must hold.
    pub fn is_steady(&self) -> bool {
        match self {
            LoadModel::Rate { curve, .. } | LoadModel::Sessions { curve, .. } => curve.is_constant(),
            LoadModel::Shared { .. } => true,
            LoadModel::Burst { .. } | LoadModel::Held { .. } => false,
        }
    }
}

/// Returns the start and the end of each phase as offsets from the run's epoch. `Duration::MAX` means never.
pub fn spans<'a>(
    phases: impl IntoIterator<Item = &'a PhaseLoad>,
) -> impl Iterator<Item = (Duration, Duration)> {
    phases.into_iter().scan(Duration::ZERO, |end, phase| {
        let start = *end;
        *end = start.saturating_add(phase.length.unwrap_or(Duration::MAX));
        Some((start, *end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_knows_its_kind_its_sessions_and_its_end() {
        let at = Duration::from_secs;
        let ramp = Curve { points: vec![(at(0), 0.0), (at(10), 5.0)] };
        let think = Think::default();
        let models = [
            LoadModel::Rate { curve: ramp.clone(), spacing: Spacing::Uniform },
            LoadModel::Burst { size: 7, every: at(1) },
            LoadModel::Held { sessions: 4, rate: 2.0 },
            LoadModel::Sessions { curve: ramp, think },
            LoadModel::Shared { total: 30, sessions: 3, think },
        ];
        let ask = |of: fn(&LoadModel) -> Option<u64>| models.each_ref().map(of);
        assert_eq!(models.each_ref().map(LoadModel::is_closed), [false, false, false, true, true]);
        assert_eq!(models.each_ref().map(LoadModel::holds), [false, false, true, false, false]);
        assert_eq!(models.each_ref().map(LoadModel::is_steady), [false, false, false, false, true]);
        assert_eq!(ask(LoadModel::total), [None, None, None, None, Some(30)]);
        assert_eq!(
            ask(|model| model.sessions_at(Duration::from_secs(6))),
            [None, None, None, Some(3), Some(3)]
        );
        assert_eq!(ask(LoadModel::most_sessions), [None, None, Some(4), Some(5), Some(3)]);
        assert_eq!(models.each_ref().map(LoadModel::peak_rate), [Some(5.0), None, None, None, None]);
    }
}
