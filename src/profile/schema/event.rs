//! `[[event]]`: commands that run on the listener's side during the load.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::profile::bounds;
use crate::profile::table::tables;
use crate::profile::units::Time;

tables! {
    /// A command that runs during the load of `smtpress run`, for example to restart the listener or to fill its disk.
    Event {
        /// A name for reports and expressions: `event.NAME.outage < 5s`, `event.NAME.recovery < 10s`.
        name: String, if bounds::plain_name;
        /// When: "20s" from the start of the run, or { phase = "steady", after = "20s" }. Needed.
        at: EventAt;
        /// A shell command, which runs in the folder that `folder` names. Needed. A command that fails makes the run
        /// invalid.
        run: String, if bounds::command;
        /// The longest time of the command. After it the command is killed, with all processes that it started, and the
        /// run is invalid.
        timeout: Time, or Time::seconds(60), if bounds::timeout;
    }
    /// A time in a phase.
    EventInPhase {
        /// From the start of the load of this phase.
        phase: String;
        /// The time after it.
        after: Time, or Time::default();
    }
}

/// When an event starts.
#[derive(Clone, Debug, PartialEq)]
pub enum EventAt {
    /// This long after the start of the run.
    Run(Time),
    /// In a phase.
    Phase(EventInPhase),
}

impl Serialize for EventAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            EventAt::Run(time) => time.serialize(serializer),
            EventAt::Phase(table) => table.serialize(serializer),
        }
    }
}

struct EventAtVisitor;

impl<'de> Visitor<'de> for EventAtVisitor {
    type Value = EventAt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as \"20s\", or { phase = \"steady\", after = \"20s\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<EventAt, E> {
        Time::deserialize(de::value::StrDeserializer::new(text)).map(EventAt::Run)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<EventAt, E> {
        Time::deserialize(de::value::U64Deserializer::new(number)).map(EventAt::Run)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<EventAt, E> {
        Time::deserialize(de::value::I64Deserializer::new(number)).map(EventAt::Run)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<EventAt, A::Error> {
        EventInPhase::deserialize(MapAccessDeserializer::new(map)).map(EventAt::Phase)
    }
}

impl<'de> Deserialize<'de> for EventAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventAtVisitor)
    }
}

impl JsonSchema for EventAt {
    fn schema_name() -> Cow<'static, str> {
        "EventAt".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a time from the start of the run, or { phase, after }",
            "anyOf": [generator.subschema_for::<Time>(), generator.subschema_for::<EventInPhase>()],
        })
    }
}
