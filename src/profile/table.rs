//! How a key of the profile is declared: `tables!` for keys, `words!` for the words of a value.
//!
//! ```text
//! /// How long each step may take.
//! Timeouts {
//!     /// The greeting.
//!     greeting: Time = Time::seconds(300), if bounds::timeout, flag "--greeting-timeout";
//! }
//! ```
//!
//! One declaration gives name, type, default, bounds, flag and doc text. From it follow the field of the table, the
//! parsing with its errors, the check of unknown keys, the default in the stored profile, the accessor, the override by
//! flag, and the JSON Schema, from which `docs/profile.md` is made.
//!
//! - `key as "name"`: the name in TOML if it is not a Rust name.
//! - `= value`: the default, which the stored profile shows.
//! - `or value`: the default, which the stored profile omits.
//! - `if check`: the bounds, a function of `super::bounds`.
//! - `flag "--name"`: the flag of `smtpress run` that sets the key.
//!
//! # Decisions
//! - `tables!` implements `Deserialize` itself and does not derive it. So the bounds are checked while a value is read,
//!   and an error about them has the place of the value, like an error about its type.
//! - Every field is an `Option`, so that "not given" differs from "given as the default".

use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::units::UnitError;
use super::value;

/// A table of keys, all optional.
pub trait KeyTable: Default {
    /// The name in the JSON Schema.
    const NAME: &'static str;
    /// The names of the keys, in order.
    const KEYS: &'static [&'static str];
    /// Every key with the flag that sets it, if there is one.
    const FLAGS: &'static [(&'static str, &'static [&'static str])];

    /// Reads the value of the key `name`.
    ///
    /// # Errors
    /// A value of another type, or out of its bounds.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;

    /// Returns the given keys, in order.
    fn given(&self) -> Vec<&'static str>;

    /// Fills in the defaults that the stored profile shows.
    fn fill(&mut self);
}

/// The words of a value.
pub trait Keyword: Copy {
    /// Returns the word in the profile.
    fn word(self) -> &'static str;
}

/// A value of another module in the form that it has in a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

/// Reads a table, key by key.
pub(super) struct TableVisitor<T>(pub PhantomData<T>);

impl<'de, T: KeyTable> Visitor<'de> for TableVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut table = T::default();
        while let Some(name) = map.next_key_seed(KeyName(T::KEYS))? {
            table.read(name, &mut map)?;
        }
        Ok(table)
    }
}

/// Reads the name of a key, which must be one of these.
struct KeyName(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for KeyName {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeyName {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<&'static str, E> {
        let known = self.0.iter().find(|known| **known == name);
        known.copied().ok_or_else(|| E::unknown_field(name, self.0))
    }
}

/// Reads a value and checks its bounds.
pub(super) struct CheckedValue<T>(fn(&T) -> Result<(), UnitError>);

impl<T> CheckedValue<T> {
    /// Returns a reader of a value without bounds.
    pub fn any() -> CheckedValue<T> {
        CheckedValue(|_| Ok(()))
    }

    /// Returns a reader of a value within these bounds.
    pub fn within(self, check: fn(&T) -> Result<(), UnitError>) -> CheckedValue<T> {
        CheckedValue(check)
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for CheckedValue<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        let value = T::deserialize(deserializer)?;
        (self.0)(&value).map_err(|error| value::error(&error))?;
        Ok(value)
    }
}

/// Returns the JSON Schema of a key.
pub(super) fn property<T: JsonSchema>(
    generator: &mut SchemaGenerator,
    description: &str,
    default: Option<Value>,
) -> Value {
    let mut schema = generator.subschema_for::<T>();
    schema.insert("description".to_owned(), description.trim().into());
    // A list that is empty by default shows no default.
    if let Some(default) = default.filter(|value| *value != Value::Array(Vec::new())) {
        schema.insert("default".to_owned(), default);
    }
    schema.to_value()
}

/// Returns the JSON Schema of a table.
pub(super) fn object<const N: usize>(description: &str, keys: [(&'static str, Value); N]) -> Schema {
    let properties: serde_json::Map<String, Value> =
        keys.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    schemars::json_schema!({
        "description": description.trim(),
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// Returns a default in the form of the JSON Schema.
pub(super) fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("every value of a profile has a JSON form")
}

/// Returns the name of a key in TOML.
macro_rules! key_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}
pub(super) use key_name;

/// Declares tables of keys. See the documentation of the module.
macro_rules! tables {
    ($($(#[doc = $doc:literal])* $table:ident {
        $($(#[doc = $key_doc:literal])* $field:ident $(as $name:literal)?: $type:ty $(= $stored:expr)?
            $(, or $absent:expr)? $(, if $check:expr)? $(, flag $flag:literal)?;)*
    })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
        pub struct $table {
            $($(#[doc = $key_doc])* $(#[serde(rename = $name)])?
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $field: Option<$type>,)*
        }

        impl $table {
            $($(
                #[doc = concat!("`", stringify!($field), "`, or its default.")]
                pub fn $field(&self) -> $type {
                    self.$field.clone().unwrap_or_else(|| $stored)
                }
            )?)*
            $($(
                #[doc = concat!("`", stringify!($field), "`, or its default.")]
                pub fn $field(&self) -> $type {
                    self.$field.clone().unwrap_or_else(|| $absent)
                }
            )?)*
        }

        impl $crate::profile::table::KeyTable for $table {
            const NAME: &'static str = stringify!($table);
            const KEYS: &'static [&'static str] =
                &[$($crate::profile::table::key_name!($field $($name)?)),*];
            const FLAGS: &'static [(&'static str, &'static [&'static str])] =
                &[$(($crate::profile::table::key_name!($field $($name)?), &[$($flag)?])),*];

            fn read<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: &str,
                map: &mut A,
            ) -> Result<(), A::Error> {
                use $crate::profile::table::{CheckedValue, key_name};
                $(if name == key_name!($field $($name)?) {
                    let value = CheckedValue::<$type>::any()$(.within(|value| ($check)(value)))?;
                    self.$field = Some(map.next_value_seed(value)?);
                })*
                Ok(())
            }

            fn given(&self) -> Vec<&'static str> {
                use $crate::profile::table::key_name;
                let all = [$((key_name!($field $($name)?), self.$field.is_some())),*];
                all.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
            }

            fn fill(&mut self) {
                $($(self.$field.get_or_insert_with(|| $stored);)?)*
            }
        }

        impl<'de> serde::Deserialize<'de> for $table {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use $crate::profile::table::{KeyTable, TableVisitor};
                deserializer.deserialize_struct(Self::NAME, Self::KEYS, TableVisitor(std::marker::PhantomData))
            }
        }

        impl schemars::JsonSchema for $table {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($table).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                use $crate::profile::table::{key_name, object, property};
                object(concat!($($doc),*), [$((
                    key_name!($field $($name)?),
                    property::<$type>(
                        generator,
                        concat!($($key_doc),*),
                        [
                            $($crate::profile::table::json::<$type>(&$stored),)?
                            $($crate::profile::table::json::<$type>(&$absent),)?
                        ]
                        .into_iter()
                        .next(),
                    ),
                )),*])
            }
        }
    )*};
}
pub(super) use tables;

/// Declares the words of a value, with their aliases. `enum Name` defines the type, and `for Name` uses a type of another module,
/// whose form in a profile is `Word<Name>`.
macro_rules! words {
    ($($(#[doc = $doc:literal])* $how:ident $name:ident { $($words:tt)* })*) => {
        $($crate::profile::table::words!(@$how [$($doc)*] $name { $($words)* });)*
    };
    (@enum [$($doc:literal)*] $name:ident {
        $($(#[doc = $variant_doc:literal])* $variant:ident = $word:literal $(| $alias:literal)*,)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $variant_doc])* $variant,)*
        }
        $crate::profile::table::words!(@forms [$($doc)*] $name, $name, |word: $name| word, |name: &$name| *name, {
            $($(#[doc = $variant_doc])* $variant = $word $(| $alias)*,)*
        });
    };
    (@for [$($doc:literal)*] $name:ident { $($words:tt)* }) => {
        $crate::profile::table::words!(
            @forms [$($doc)*] $name, $crate::profile::table::Word<$name>, $crate::profile::table::Word,
            |word: &$crate::profile::table::Word<$name>| word.0, { $($words)* }
        );
    };
    (@forms [$($doc:literal)*] $name:ident, $form:ty, $wrap:expr, $unwrap:expr, {
        $($(#[doc = $variant_doc:literal])* $variant:ident = $word:literal $(| $alias:literal)*,)*
    }) => {
        impl $crate::profile::table::Keyword for $name {
            fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl serde::Serialize for $form {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($crate::profile::table::Keyword::word(($unwrap)(self)))
            }
        }

        impl<'de> serde::Deserialize<'de> for $form {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // serde's list of variants is used in the error for a wrong word.
                #[derive(serde::Deserialize)]
                enum Spelled {
                    $(#[serde(rename = $word, $(alias = $alias),*)] $variant,)*
                }
                Ok(($wrap)(match Spelled::deserialize(deserializer)? { $(Spelled::$variant => $name::$variant,)* }))
            }
        }

        impl schemars::JsonSchema for $form {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "description": concat!($($doc),*).trim(),
                    "oneOf": [$(
                        { "const": $word, "description": concat!($($variant_doc),*).trim() },
                        $({ "const": $alias, "description": concat!("the same as ", $word) },)*
                    )*],
                })
            }
        }
    };
}
pub(super) use words;
