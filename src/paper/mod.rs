//! The paper's tables and figures, made from what a store holds: its own numbers beside the paper's.

mod composition;
mod figures;
mod page;

use std::path::Path;

use crate::error::{Error, Result};
use crate::evaluation::arm::{Arm, models_of};
use crate::evaluation::changes::card_of;
use crate::metrics::Confusion;
use crate::network::onnx::ModelCard;
use crate::pictures::confusion_svg;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::storage::publish::stem_of;
use crate::tables::history::HistoryRow;
use crate::tables::{TableFile, folder_of};

use composition::Composition;

/// Files of one folder.
pub struct Paper {
    /// Name and content of each, the page first.
    pub files: Vec<(String, String)>,
}

/// A model of the store, and how it did on the test side.
struct System {
    model_id: String,
    card: Option<ModelCard>,
    /// Names of its classes, in their order.
    classes: Vec<String>,
    /// Corpora of what it was tested on, by name.
    corpora: Vec<String>,
    test: Confusion,
    history: Vec<HistoryRow>,
}

/// Everything that the page tells.
struct Told {
    protocol: String,
    composition: Option<Composition>,
    /// The model that was scored last.
    own: System,
    /// Models that were scored before it.
    others: Vec<System>,
}

/// Tables 1 to 3 and figures 1 to 7 of the store in the folder `root`.
///
/// Errors: kind `Input` for a store that was never scored, and for files that are gone or damaged; `Unreadable` or `Machine`
/// where they cannot be read.
/// Proof: `tests/it/paper.rs`.
pub fn paper(root: &Path) -> Result<Paper> {
    let store = Store::new(root);
    let score = Commit::require(&store, "score")?;
    let unsaid = |what: &str| Error::bug(format!("score committed no {what}"));
    let last = score.evidence.model_id.clone().ok_or_else(|| unsaid("model_id"))?;
    let front_end = score.evidence.front_end.clone();
    let earlier = models_of(&store, &score).into_iter().filter(|model| *model != last);
    let told = Told {
        protocol: score.evidence.protocol.clone().unwrap_or_else(|| "unknown".into()),
        composition: Composition::of(&store, &score)?,
        own: System::of(&store, &last)?,
        others: earlier.map(|model| System::of(&store, &model)).collect::<Result<_>>()?,
    };
    let mut pictures = Vec::new();
    if let Some(front_end) = &front_end {
        pictures.extend(figures::of_front_end(front_end)?);
    }
    if let Some(card) = &told.own.card {
        pictures.extend(figures::of_network(&card.network));
    }
    pictures.extend(figures::of_history(&told.own.model_id, &told.own.history));
    if told.own.test.total() > 0 {
        let title = format!("Figure 7. Confusion matrix, test side, protocol {}", told.protocol);
        pictures.push(("figure-7.svg".into(), confusion_svg(&told.own.test, &told.own.classes, &title)));
    }
    let names: Vec<&str> = pictures.iter().map(|(name, _): &(String, String)| name.as_str()).collect();
    let page = ("paper.md".to_string(), page::markdown(&told, &names));
    Ok(Paper { files: std::iter::once(page).chain(pictures).collect() })
}

impl System {
    fn of(store: &Store, model_id: &str) -> Result<Self> {
        let arm = Arm::of_store(model_id, store.root(), Some(model_id))?;
        let class = |name: &Option<String>| arm.classes.iter().position(|class| Some(class) == name.as_ref());
        let mut test = Confusion::new(arm.classes.len());
        let mut corpora = std::collections::BTreeSet::new();
        for answer in arm.answers.iter().filter(|answer| answer.split.as_deref() == Some("test")) {
            if let (Some(truth), Some(said)) = (class(&answer.emotion), class(&answer.predicted)) {
                test.add(truth, said, 1);
                corpora.insert(answer.corpus.clone());
            }
        }
        Ok(Self {
            model_id: model_id.to_string(),
            card: card_of(store, model_id)?,
            corpora: corpora.into_iter().collect(),
            test,
            history: history_of(store, model_id)?,
            classes: arm.classes,
        })
    }

    /// How many items the label `truth` was answered by `said`, and how many have that label; `None` without such classes.
    fn answered(&self, truth: &str, said: &str) -> Option<(u64, u64)> {
        let class = |name: &str| self.classes.iter().position(|class| class == name);
        let (truth, said) = (class(truth)?, class(said)?);
        Some((self.test.count(truth, said), self.test.class(truth).support))
    }

    /// The epoch that was kept.
    fn best(&self) -> Option<&HistoryRow> {
        self.history.iter().find(|row| row.is_best)
    }
}

/// The epochs of a model that was trained on this store; a model from elsewhere has none.
fn history_of(store: &Store, model_id: &str) -> Result<Vec<HistoryRow>> {
    let Some(train) = Commit::read(store, "train")? else { return Ok(Vec::new()) };
    let stem = store.relative(&folder_of::<HistoryRow>(store).join(model_id));
    let record = train.files.iter().chain(&train.earlier).find(|file| stem_of(&file.path) == stem);
    record.map_or(Ok(Vec::new()), |record| TableFile::committed(store, record, "train")?.rows())
}
