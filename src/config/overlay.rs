//! What is laid over the text of a recipe before it is read: keys that older recipes do not name, label sets that are named only,
//! and what was typed with `--set`.

use crate::audio::Budget;
use crate::error::{Error, Result};
use crate::labels::{DEFAULT_SET, Labels};

/// Adds what recipes of earlier releases do not name, with the value that they meant.
pub(super) fn add_newer_keys(table: &mut toml::Table) {
    if let Some(ingest) = table.get_mut("ingest").and_then(toml::Value::as_table_mut) {
        let megabytes = (Budget::DEFAULT_LIMIT.0 / 1_000_000) as i64;
        ingest.entry("max_recording_mb").or_insert(toml::Value::Integer(megabytes));
    }
    if let Some(score) = table.get_mut("score").and_then(toml::Value::as_table_mut) {
        score.entry("source").or_insert_with(|| "features".into());
    }
    if let Some(split) = table.get_mut("split").and_then(toml::Value::as_table_mut) {
        split.entry("allow_leaks").or_insert_with(|| toml::Value::Array(Vec::new()));
    }
    let labels = table.entry("labels").or_insert_with(|| toml::Table::new().into());
    if let Some(labels) = labels.as_table_mut()
        && !labels.contains_key("classes")
    {
        labels.entry("set").or_insert_with(|| DEFAULT_SET.into());
    }
}

/// A label set that is named and not spelled out is the one of that name that sermill ships.
pub(super) fn spell_out_labels(table: &mut toml::Table) -> Result<()> {
    let Some(labels) = table.get_mut("labels").and_then(toml::Value::as_table_mut) else { return Ok(()) };
    if labels.contains_key("classes") || labels.contains_key("words") {
        return Ok(());
    }
    let Some(set) = labels.get("set").and_then(toml::Value::as_str) else { return Ok(()) };
    let known = Labels::shipped(set)?;
    *labels = toml::Table::try_from(known).map_err(|error| Error::bug("labels have no TOML form").because(error))?;
    Ok(())
}

pub(super) fn lay_over(table: &mut toml::Table, item: &str) -> Result<()> {
    let wrong = |why: &str| Error::recipe(format!("--set {item}: {why}")).hint("write --set section.key=value");
    let (place, value) = item.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
    // A value that is not TOML by itself, such as a bare word or a path, is a string.
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_string()));
    let mut keys: Vec<&str> = place.trim().split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut section = table;
    for key in keys {
        section = section
            .get_mut(key)
            .and_then(toml::Value::as_table_mut)
            .ok_or_else(|| wrong(&format!("there is no section `{key}`")))?;
    }
    match section.get_mut(last) {
        Some(old) => *old = value,
        None => return Err(wrong(&format!("there is no key `{last}`"))),
    }
    Ok(())
}
