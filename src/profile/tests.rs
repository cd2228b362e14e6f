//! Tests of the whole way from text to plan: what is compiled, what is refused, how an error is shown, and the shipped
//! profiles.

mod bounds;
mod messages;
mod plans;
mod refused;
mod shipped;
mod without_effect;

use super::overrides::apply_in_order;
use super::{Compiled, Context, Document, Override, ProfileError, Purpose, compile};
use crate::load::Shard;

fn context(purpose: Purpose) -> Context {
    Context { purpose, seed: 7, run_id: "run".to_owned(), threads: 2, shard: Shard::WHOLE }
}

/// Compiles a text for a run, with overrides.
fn compiled(text: &str, sets: &[&str]) -> Result<Compiled, ProfileError> {
    let mut document = Document::parse("profile.toml", text)?;
    let sets = sets.iter().map(|set| Override::set(set)).collect::<Result<Vec<_>, _>>()?;
    apply_in_order(&mut document, sets)?;
    compile(&document, &context(Purpose::Run))
}
