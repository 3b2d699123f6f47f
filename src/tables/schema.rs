//! The contract of a table, as `schemas/<table>.toml` states it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::Deserialize;

use crate::error::{Error, Result};

/// One table: its name, its version, its columns in order.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSchema {
    pub table: String,
    /// Frozen: another set of columns is another version, in another folder.
    pub version: u32,
    /// Written, read once and removed: not worth a compressor.
    #[serde(default)]
    pub transient: bool,
    #[serde(rename = "column")]
    pub columns: Vec<Column>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ColumnType,
    #[serde(default)]
    pub nullable: bool,
    #[serde(default)]
    pub unit: Option<String>,
    /// Stands for one column per class of a model, `{class}` in its name for each.
    #[serde(default)]
    pub per_class: bool,
    /// Only in files of models that have something to say in it; where it is missing, it is null.
    #[serde(default)]
    pub optional: bool,
    pub meaning: String,
}

/// Types a column may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    String,
    Bool,
    /// Counts are signed: a difference of two must not wrap around in whatever reads them.
    I32,
    I64,
    F32,
    F64,
    Binary,
}

impl ColumnType {
    fn arrow(self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::I32 => DataType::Int32,
            Self::I64 => DataType::Int64,
            Self::F32 => DataType::Float32,
            Self::F64 => DataType::Float64,
            Self::Binary => DataType::Binary,
        }
    }
}

impl TableSchema {
    /// Reads a contract.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| Error::bug("a schema file is wrong").because(error))
    }

    /// The Arrow schema; unit and meaning ride along as field metadata, name and version as schema metadata.
    pub fn arrow(&self) -> SchemaRef {
        self.arrow_with(&[], false)
    }

    /// [`TableSchema::arrow`] with the optional columns, if they are wanted, and those of these classes, which come last and may
    /// all be null.
    pub fn arrow_with(&self, classes: &[String], optional: bool) -> SchemaRef {
        let field = |column: &Column, class: &str| {
            let mut about = HashMap::from([("meaning".to_string(), column.meaning.clone())]);
            if let Some(unit) = &column.unit {
                about.insert("unit".into(), unit.clone());
            }
            Field::new(column.name.replace("{class}", class), column.kind.arrow(), column.nullable).with_metadata(about)
        };
        let about = HashMap::from([
            ("sermill.table".to_string(), self.table.clone()),
            ("sermill.version".to_string(), self.version.to_string()),
        ]);
        let (of_class, own): (Vec<&Column>, Vec<&Column>) =
            self.columns.iter().filter(|column| optional || !column.optional).partition(|column| column.per_class);
        let own = own.into_iter().map(|column| field(column, ""));
        let of_class = of_class.into_iter().flat_map(|column| classes.iter().map(move |class| field(column, class)));
        Arc::new(Schema::new(own.chain(of_class).collect::<Vec<_>>()).with_metadata(about))
    }
}
