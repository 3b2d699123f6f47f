//! What scoring asks: one model file, or the networks of all folds and members of a run, held together as one string of bytes so that
//! whoever plans, shards and commits need not know how many there are.

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::network::onnx::{ModelCard, read_model};
use crate::stages::score::{Source, TRAINED};
use crate::stages::{Ctx, Read};

/// How the bytes of more than one network begin; no ONNX file does.
const MAGIC: &[u8; 8] = b"SERMILLM";

/// What is said of the networks before their bytes.
#[derive(Serialize, Deserialize)]
struct Head {
    model_id: String,
    /// Fold, member and length of each.
    networks: Vec<(Option<u32>, u32, usize)>,
}

/// The networks of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Models {
    /// What the run calls itself; `None` for one file, which says it in its card.
    model_id: Option<String>,
    /// Fold and bytes, members of a fold side by side.
    networks: Vec<(Option<u32>, Bytes)>,
    /// All of it.
    bytes: Bytes,
}

impl Models {
    /// Takes the bytes of [`read`] apart.
    pub(super) fn from_bytes(bytes: &Bytes) -> Result<Self> {
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Ok(Self { model_id: None, networks: vec![(None, bytes.clone())], bytes: bytes.clone() });
        };
        let broken = || Error::bug("the networks of a run are cut short");
        let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        let (head, _) = rest.split_at_checked(u64::from_le_bytes(*length) as usize).ok_or_else(broken)?;
        let Head { model_id, networks } = serde_json::from_slice(head).map_err(|error| broken().because(error))?;
        let mut at = MAGIC.len() + 8 + head.len();
        let mut own = Vec::with_capacity(networks.len());
        for (fold, _, length) in networks {
            let end = at.checked_add(length).filter(|end| *end <= bytes.len()).ok_or_else(broken)?;
            own.push((fold, bytes.slice(at..end)));
            at = end;
        }
        Ok(Self { model_id: Some(model_id), networks: own, bytes: bytes.clone() })
    }

    fn to_bytes(model_id: &str, networks: &[(Option<u32>, u32, Bytes)]) -> Result<Bytes> {
        if let [(None, _, bytes)] = networks {
            return Ok(bytes.clone());
        }
        let head = Head {
            model_id: model_id.into(),
            networks: networks.iter().map(|(fold, member, bytes)| (*fold, *member, bytes.len())).collect(),
        };
        let head = serde_json::to_vec(&head).map_err(|error| Error::bug("no JSON form").because(error))?;
        let mut all = MAGIC.to_vec();
        all.extend_from_slice(&(head.len() as u64).to_le_bytes());
        all.extend_from_slice(&head);
        networks.iter().for_each(|(_, _, bytes)| all.extend_from_slice(bytes));
        Ok(all.into())
    }

    /// What [`Models::from_bytes`] was given.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The folds there are networks of, in order; `None` for networks that belong to no fold.
    pub(super) fn folds(&self) -> Vec<Option<u32>> {
        let mut folds: Vec<Option<u32>> = self.networks.iter().map(|(fold, _)| *fold).collect();
        folds.dedup();
        folds
    }

    /// The networks of a fold.
    pub(super) fn of_fold(&self, fold: Option<u32>) -> impl Iterator<Item = &Bytes> {
        self.networks.iter().filter(move |(own, _)| *own == fold).map(|(_, bytes)| bytes)
    }

    /// What all of them say of themselves, by the name of the run.
    pub(super) fn card(&self) -> Result<ModelCard> {
        let (_, first) = self.networks.first().ok_or_else(|| Error::bug("a run without a network"))?;
        let card = ModelCard::from_model(first)?;
        Ok(ModelCard { model_id: self.model_id.clone().unwrap_or(card.model_id), ..card })
    }
}

/// The model that the recipe names, and its bytes: those that `train` committed, or those of a file from elsewhere.
pub(super) fn read(ctx: &Ctx, read: &Read) -> Result<(PathBuf, Bytes)> {
    if ctx.pipeline.score.model != TRAINED {
        let path = PathBuf::from(&ctx.pipeline.score.model);
        return read_model(&path).map(|bytes| (path, bytes.into()));
    }
    let commit = read.commit("train")?;
    let is_folder = Source::of(ctx) == Source::Folder;
    let mut networks = Vec::new();
    let mut place = None;
    // Recordings of a folder belong to no fold.
    for model in commit.evidence.models.iter().filter(|model| !is_folder || model.fold.is_none()) {
        let file = commit.files.iter().find(|file| file.path == model.path);
        let file = file.ok_or_else(|| Error::bug(format!("train committed no `{}`", model.path)))?;
        place.get_or_insert_with(|| file.file(&ctx.store));
        networks.push((model.fold, model.member, file.read(&ctx.store, "train")?));
    }
    let Some(place) = place else {
        let what = "the trained models are those of folds, and a folder of recordings belongs to none";
        return Err(Error::recipe(what).at(ctx.store.root()).hint(format!(
            "train one on everything with --set train.final_model=true, or name one: --set score.model={}",
            files::text_of(
                &ctx.store.root().join(commit.evidence.models.first().map_or("model.onnx", |one| &one.path))
            )
        )));
    };
    let model_id = commit.evidence.model_id.as_deref().unwrap_or_default();
    Models::to_bytes(model_id, &networks).map(|bytes| (place, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_a_run_come_apart_as_they_were_put_together() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let networks =
            [(Some(0), 0, bytes("a")), (Some(0), 1, bytes("bb")), (Some(1), 0, bytes("")), (None, 0, bytes("ccc"))];
        let all = Models::to_bytes("run", &networks).expect("bytes");
        let models = Models::from_bytes(&all).expect("sound");
        assert_eq!(models.folds(), [Some(0), Some(1), None]);
        assert_eq!(models.of_fold(Some(0)).collect::<Vec<_>>(), [&bytes("a"), &bytes("bb")]);
        assert_eq!(models.of_fold(None).collect::<Vec<_>>(), [&bytes("ccc")]);
        assert_eq!(models.model_id.as_deref(), Some("run"));
        for end in 8..all.len() {
            Models::from_bytes(&all.slice(..end)).expect_err("cut short");
        }
        let one = Models::from_bytes(&bytes("onnx")).expect("a file");
        assert_eq!(one.folds(), [None]);
        let alone = Models::to_bytes("run", &[(None, 0, bytes("onnx"))]).expect("bytes");
        assert_eq!(alone, bytes("onnx"), "a model that is alone is its file");
    }
}
