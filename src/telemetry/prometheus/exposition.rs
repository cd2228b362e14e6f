//! Chooses the form of the metrics that an `Accept` header prefers (RFC 9110 12.5.1).

/// A form of the metrics. Of forms that `Accept` names with equal weight, the first in this order is preferred; of forms that
/// match only a wildcard, the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpositionFormat {
    /// Prometheus' delimited messages, with native histograms.
    Protobuf,
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Classic,
}

impl ExpositionFormat {
    const ALL: [ExpositionFormat; 3] =
        [ExpositionFormat::Protobuf, ExpositionFormat::OpenMetrics, ExpositionFormat::Classic];

    /// Returns the media type with its parameters.
    pub const fn content_type(self) -> &'static str {
        match self {
            ExpositionFormat::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
            ExpositionFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ExpositionFormat::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Returns the parameters that identify the form. A range with another value for one of them does not match. Other
    /// parameters (`charset`, `escaping`) change nothing for plain names.
    const fn parameters(self) -> &'static [(&'static str, &'static str)] {
        match self {
            ExpositionFormat::Protobuf => {
                &[("proto", "io.prometheus.client.metricfamily"), ("encoding", "delimited")]
            }
            ExpositionFormat::OpenMetrics => &[("version", "1.0.0")],
            ExpositionFormat::Classic => &[("version", "0.0.4")],
        }
    }

    /// Returns the form for an `Accept` header. Without a header, or if no form is accepted, it is classic text: a scraper
    /// that cannot parse an answer reports a clearer error than a scraper that gets no answer.
    pub fn liked(accept: &str) -> ExpositionFormat {
        let ranges: Vec<MediaRange> = accept.split(',').filter_map(MediaRange::read).collect();
        let liking = |form: ExpositionFormat| {
            // The range that describes a form most closely determines the weight of the form.
            let own = ranges.iter().filter_map(|range| Some((range.speaks_for(form)?, range.quality)));
            let (says, quality) = own.max_by_key(|(says, quality)| (*says, *quality))?;
            // Among forms that are named in the header, the richer one is preferred.
            let rank = if says >= NAMED { ExpositionFormat::Classic as u8 - form as u8 } else { form as u8 };
            (quality > 0).then_some(((quality, says.min(NAMED), rank), form))
        };
        ExpositionFormat::ALL
            .into_iter()
            .filter_map(liking)
            .max()
            .map_or(ExpositionFormat::Classic, |(_, form)| form)
    }
}

/// The rank of a range that names type and subtype.
const NAMED: usize = 2;

/// One range of an `Accept` header, in lower case.
struct MediaRange {
    kind: String,
    subtype: String,
    parameters: Vec<(String, String)>,
    /// The weight in thousandths.
    quality: u32,
}

impl MediaRange {
    /// Parses a range; `None` if it is invalid. Invalid ranges are ignored.
    fn read(text: &str) -> Option<MediaRange> {
        let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
        let media = parts.next()?;
        let (kind, subtype) = media.split_once('/')?;
        let mut range =
            MediaRange { kind: kind.into(), subtype: subtype.into(), parameters: Vec::new(), quality: 1000 };
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name == "q" {
                let quality: f64 = value.parse().ok()?;
                range.quality = (0.0..=1.0).contains(&quality).then(|| (quality * 1000.0).round() as u32)?;
            } else {
                range.parameters.push((name.to_owned(), value.to_owned()));
            }
        }
        Some(range)
    }

    /// Returns how closely the range describes a form: 0 for `*/*`, more for a closer match, `None` for no match.
    fn speaks_for(&self, form: ExpositionFormat) -> Option<usize> {
        let (kind, subtype) = form.content_type().split(';').next()?.split_once('/')?;
        match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", "*") => return Some(0),
            (own, "*") if own == kind => return Some(1),
            (own, other) if own == kind && other == subtype => {}
            _ => return None,
        }
        let mut says = NAMED;
        for (name, value) in form.parameters() {
            match self.parameters.iter().find(|(own, _)| own == name) {
                Some((_, own)) if own == value => says += 1,
                Some(_) => return None,
                // The media type of protobuf is also used for other messages, so its parameters are required. The
                // parameters of a text are not.
                None if form == ExpositionFormat::Protobuf => return None,
                None => {}
            }
        }
        Some(says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExpositionFormat::{Classic, OpenMetrics, Protobuf};

    const PROTOBUF: &str =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    const TEXT: &str = "application/openmetrics-text;version=1.0.0";

    #[test]
    fn who_asks_for_nothing_or_plain_text_gets_the_classic_format() {
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/plain;version=0.0.4",
            "text/plain; version=0.0.4; charset=utf-8",
            "text/*",
            "text/plain, */*;q=0.1",
            // As sent by a browser.
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            // No form that is served.
            "application/json",
            "application/openmetrics-text;version=0.0.1",
            "nonsense",
            ";;;,,q=1,/",
            "*/*;q=0",
        ] {
            assert_eq!(ExpositionFormat::liked(accept), Classic, "{accept}");
        }
    }

    #[test]
    fn what_is_liked_best_is_given() {
        for (accept, form) in [
            // As sent by Prometheus 2.42 with and without native histograms, and by 3.x.
            (
                format!(
                    "{PROTOBUF},{TEXT};q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
                ),
                Protobuf,
            ),
            (
                format!(
                    "{TEXT},application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
                ),
                OpenMetrics,
            ),
            (
                format!(
                    "{TEXT};escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
                ),
                OpenMetrics,
            ),
            (format!("text/plain;version=0.0.4;q=0.6,{TEXT};q=0.5"), Classic),
            (format!("text/plain, {PROTOBUF};q=0.5"), Classic),
            (format!("text/plain;q=0.3, {PROTOBUF};q=0.7"), Protobuf),
            (format!("{PROTOBUF};q=0, */*"), Classic),
            (format!("{PROTOBUF};q=0"), Classic),
            ("text/plain;q=0, application/openmetrics-text".into(), OpenMetrics),
            ("text/plain;q=0, */*".into(), OpenMetrics),
            ("text/plain;q=0.1, */*".into(), OpenMetrics),
            ("application/openmetrics-text".into(), OpenMetrics),
            ("APPLICATION/OpenMetrics-Text; VERSION=1.0.0".into(), OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"".into(), OpenMetrics),
            // The scraper has no preference: a form that is named comes before a wildcard, and the richest named form
            // wins.
            (format!("text/plain, {TEXT}, {PROTOBUF}"), Protobuf),
            (format!("*/*, {TEXT}"), OpenMetrics),
            ("application/vnd.google.protobuf; proto=other; encoding=text".into(), Classic),
            ("application/vnd.google.protobuf".into(), Classic),
            // A range with an invalid weight is ignored.
            (format!("{TEXT};q=2, text/plain;q=0.1"), Classic),
            (format!("{TEXT};q=, text/plain;q=0.1"), Classic),
        ] {
            assert_eq!(ExpositionFormat::liked(&accept), form, "{accept}");
        }
    }
}
