//! How quantities and distributions are read from TOML, written to it, and described in the JSON Schema.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::nearest::{choose, nearest};
use super::table::Word;
use super::units::{
    Count, Level, Percent, Quantity, REMEDY, Rate, RetryTimes, SearchSetting, Seed, Size, Time, TimeRange,
    UnitError,
};
use crate::condition::Condition;
use crate::smtp::Step;

/// Returns an error for serde. Module `error` separates the text into message and remedy again.
pub(super) fn error<E: de::Error>(error: &UnitError) -> E {
    E::custom(format_args!("{}{REMEDY}{}", error.message, error.remedy))
}

/// Reads a quantity from a text or a whole number.
struct QuantityVisitor<Q>(PhantomData<Q>);

impl<Q: Quantity> Visitor<'_> for QuantityVisitor<Q> {
    type Value = Q;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Q::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Q, E> {
        Q::read(text).map_err(|e| error(&e))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Q, E> {
        Q::from_integer(number).map_err(|e| error(&e))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Q, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(error(&UnitError {
                message: format!("{number} is negative"),
                remedy: format!("write {}", Q::EXPECTED),
            })),
        }
    }
}

/// Implements serde and schemars for quantities; a blanket implementation would break the orphan rule.
macro_rules! quantities {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(QuantityVisitor(PhantomData))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text = self.to_string();
                match text.parse::<i64>() {
                    Ok(number) if <$type>::BARE => serializer.serialize_i64(number),
                    _ => serializer.serialize_str(&text),
                }
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                <$type>::NAME.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                if <$type>::BARE {
                    json_schema!({
                        "description": <$type>::EXPECTED,
                        "type": ["string", "integer"],
                        "pattern": <$type>::PATTERN,
                        "minimum": 0,
                    })
                } else {
                    json_schema!({
                        "description": <$type>::EXPECTED,
                        "anyOf": [{ "type": "string", "pattern": <$type>::PATTERN }, { "const": 0 }],
                    })
                }
            }
        }
    )*};
}

quantities!(Time, TimeRange, RetryTimes, Rate, Count, Size, Percent, Level, SearchSetting, Seed);

/// One value, any value between two bounds, or one of a weighted list.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution<T> {
    /// Always this value.
    Fixed(T),
    /// Any value from `min` to `max`.
    Range(RangeTable<T>),
    /// Log-normal: many small values and a long tail.
    LogNormal(LogNormalTable<T>),
    /// One of these values, by weight.
    Weighted(Vec<Share<T>>),
}

impl<T: Quantity + Copy + PartialOrd> Distribution<T> {
    /// Returns the values that the distribution names.
    pub fn values(&self) -> Vec<T> {
        match self {
            Distribution::Fixed(value) => vec![*value],
            Distribution::Range(RangeTable { min, max }) => vec![*min, *max],
            Distribution::LogNormal(LogNormalTable { median, min, max, .. }) => {
                min.iter().copied().chain([*median, *max]).collect()
            }
            Distribution::Weighted(shares) => shares.iter().map(|share| share.value).collect(),
        }
    }

    fn check(&self) -> Result<(), UnitError> {
        match self {
            Distribution::Range(RangeTable { min, max }) if min > max => Err(UnitError::new(
                format!("the range begins at {min} and ends at {max}"),
                "write the smaller value as `min`",
            )),
            Distribution::Weighted(shares) => {
                let sum: f64 = shares.iter().map(|share| share.weight).sum();
                if sum > 0.0 && sum.is_finite() && shares.iter().all(|share| share.weight >= 0.0) {
                    return Ok(());
                }
                Err(UnitError::new(
                    "the weights must not be negative, and their sum must be above 0",
                    "write a list such as [{ value = 1, weight = 90 }, { value = 10, weight = 10 }]",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Any value from `min` to `max`, both included, with equal probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeTable<T> {
    /// The smallest value.
    pub min: T,
    /// The largest value.
    pub max: T,
}

/// Half of the values are below the median and half above, with a long tail above. Where a bound cuts a tail off, the values of
/// that half are drawn within the bound, so the median stays the stated one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogNormalTable<T> {
    /// The median: half of the values are smaller, half are larger.
    pub median: T,
    /// The standard deviation of the natural logarithm: 0.5 is narrow, 2 is wide.
    pub sigma: f64,
    /// The smallest value. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<T>,
    /// The largest value.
    pub max: T,
}

/// The table of any distribution. The given keys show which distribution it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spread<T> {
    min: Option<T>,
    max: Option<T>,
    median: Option<T>,
    sigma: Option<f64>,
}

impl<T> Spread<T> {
    fn distribution<E: de::Error>(self) -> Result<Distribution<T>, E> {
        let missing = |key: &str| {
            error(&UnitError {
                message: format!("the key `{key}` is missing"),
                remedy: format!("add `{key} = ...`"),
            })
        };
        match self {
            Spread { max: None, .. } => Err(missing("max")),
            Spread { median: Some(median), sigma: Some(sigma), min, max: Some(max) } => {
                Ok(Distribution::LogNormal(LogNormalTable { median, sigma, min, max }))
            }
            Spread { median: Some(_), .. } => Err(missing("sigma")),
            Spread { sigma: Some(_), .. } => Err(missing("median")),
            Spread { min: Some(min), max: Some(max), .. } => Ok(Distribution::Range(RangeTable { min, max })),
            Spread { min: None, .. } => Err(missing("min")),
        }
    }
}

/// One value of a weighted list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Share<T> {
    /// The value.
    pub value: T,
    /// The weight, relative to the sum of all weights.
    pub weight: f64,
}

struct DistributionVisitor<T>(PhantomData<T>);

impl<'de, T: Quantity + Deserialize<'de>> Visitor<'de> for DistributionVisitor<T> {
    type Value = Distribution<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, or {{ min, max }}, or {{ median, sigma, max }}, or a list of {{ value, weight }}",
            T::EXPECTED
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        QuantityVisitor(PhantomData).visit_str(text).map(Distribution::Fixed)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        QuantityVisitor(PhantomData).visit_u64(number).map(Distribution::Fixed)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        QuantityVisitor(PhantomData).visit_i64(number).map(Distribution::Fixed)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Spread::deserialize(MapAccessDeserializer::new(map))?.distribution()
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Distribution::Weighted)
    }
}

impl<'de, T: Quantity + Copy + PartialOrd + Deserialize<'de>> Deserialize<'de> for Distribution<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let distribution = deserializer.deserialize_any(DistributionVisitor(PhantomData))?;
        distribution.check().map_err(|e| error(&e))?;
        Ok(distribution)
    }
}

impl<T: Serialize> Serialize for Distribution<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Distribution::Fixed(value) => value.serialize(serializer),
            Distribution::Range(range) => range.serialize(serializer),
            Distribution::LogNormal(spread) => spread.serialize(serializer),
            Distribution::Weighted(shares) => shares.serialize(serializer),
        }
    }
}

impl<T: Quantity + JsonSchema> JsonSchema for Distribution<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("DistributionOf{}", T::NAME).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "always the same, { min, max }, { median, sigma, max }, or a list of { value, weight }",
            "anyOf": [
                generator.subschema_for::<T>(),
                generator.subschema_for::<RangeTable<T>>(),
                generator.subschema_for::<LogNormalTable<T>>(),
                generator.subschema_for::<Vec<Share<T>>>(),
            ],
        })
    }
}

/// A number, or a quantity whose type the key decides (`[limits]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    /// A bare number.
    Number(u64),
    /// A text with a unit.
    Text(String),
}

struct PlainVisitor;

impl Visitor<'_> for PlainVisitor {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number such as 50, or a text with a unit such as \"20MiB\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Plain, E> {
        Ok(Plain::Text(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Plain, E> {
        Ok(Plain::Number(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Plain, E> {
        QuantityVisitor::<Count>(PhantomData).visit_i64(number).map(|Count(number)| Plain::Number(number))
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor)
    }
}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Plain::Number(number) => match i64::try_from(*number) {
                Ok(number) => serializer.serialize_i64(number),
                Err(_) => serializer.serialize_str(&number.to_string()),
            },
            Plain::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl JsonSchema for Plain {
    fn schema_name() -> Cow<'static, str> {
        "Plain".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a number, or a text with a unit; the key decides which",
            "type": ["string", "integer"],
        })
    }
}

/// Reads names that smtpress defines: steps and conditions.
macro_rules! names {
    ($($type:ident: $wrong:literal, $remedy:expr;)*) => {$(
        impl<'de> Deserialize<'de> for Word<$type> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                name.parse().map(Word).map_err(|()| {
                    let known = $type::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>();
                    let message = format!("`{name}` is not {}", $wrong);
                    error(&UnitError { message, remedy: $remedy(&name, &known) })
                })
            }
        }

        impl Serialize for Word<$type> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl JsonSchema for Word<$type> {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string" })
            }
        }
    )*};
}

names! {
    Step: "a step", |name: &str, known: &[&str]| choose(name, known, "the steps are");
    Condition: "a condition", |name: &str, known: &[&str]| match nearest(name, known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => "`smtpress codes` lists the conditions".to_owned(),
    };
}
