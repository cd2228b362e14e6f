#[path = "../it/limits/drawn/mod.rs"]
mod drawn;
