//! What the program refuses, with which exit code, and whether the message helps.

use sermill::network::onnx::{ModelCard, export, import};
use sermill::split::Split;
use sermill::tables::features::FeatureRow;
use sermill::tables::folds::{FoldRow, Sides};

use crate::mill::{Ended, Mill};

/// Code, and words that the message must have: the value, the limit, the mending.
#[track_caller]
fn refused(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "stdout {} stderr {}", ended.stdout, ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is not in: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_wrong_recipe_is_code_2_and_names_the_key() {
    let mill = Mill::with_corpus();
    refused(&mill.stage("ingest", &["--set", "train.momentun=0.5"]), 2, &["momentun", "hint:"]);
    refused(&mill.stage_of("ingest", "paper", &["--set", "features.front_end.hop=64"]), 2, &["profile", "paper.toml"]);
    refused(&mill.run(&["ingest", "--pipeline", "nowhere.toml"]), 2, &["nowhere.toml", "hint:"]);
    std::fs::write(mill.path("odd.toml"), "[pipeline]\nname = 'x'\nseeds = 1\n").expect("written");
    refused(&mill.run(&["ingest", "--pipeline", "odd.toml"]), 2, &["odd.toml", "seeds"]);
    refused(&mill.stage("score", &["--set", "score.device=gpu"]), 2, &["gpu", "cuda"]);
    refused(&mill.run(&["sing"]), 2, &["sing"]);
}

#[test]
fn a_stage_whose_input_is_not_there_says_which_to_run_first() {
    let mill = Mill::with_corpus();
    refused(&mill.stage("features", &[]), 2, &["`ingest` has not been run", "sermill ingest"]);
    mill.done("ingest", &[]);
    refused(&mill.stage("train", &[]), 2, &["`features` has not been run"]);
    refused(&mill.stage("score", &[]), 2, &["`train` has not been run"]);
    refused(&mill.stage("report", &[]), 2, &["`score` has not been run"]);
}

#[test]
fn missing_folders_and_empty_corpora_are_code_2() {
    let mill = Mill::new();
    refused(&mill.stage("ingest", &[]), 2, &["corpora/synthetic", "--corpora"]);
    std::fs::create_dir_all(mill.corpora().join("synthetic")).expect("folder");
    refused(&mill.stage("ingest", &[]), 2, &["there is no recording"]);
    assert!(mill.table("manifest").is_empty(), "nothing half-made is there");
}

#[test]
fn features_of_other_settings_are_refused_by_a_model() {
    let mill = Mill::with_corpus();
    assert_eq!(mill.stage("run", &[]).code, 0);
    let id = mill.rows::<sermill::tables::history::HistoryRow>("history")[0].model_id.clone();
    let model = format!("score.model={}", mill.store().join("models").join(id).join("model.onnx").display());
    let other = ["--set", "features.front_end.fmax_hz=8000.0", "--set", "features.profile=mine", "--set", &model];
    assert_eq!(mill.stage("features", &other).code, 0);
    refused(&mill.stage("score", &other), 2, &["trained on features", "front_end"]);
}

#[test]
fn a_foreign_model_file_is_refused() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    std::fs::write(mill.path("foreign.onnx"), b"not a model").expect("written");
    for provider in ["cpu", "native"] {
        let foreign = ["--set", "score.model=foreign.onnx", "--provider", provider];
        refused(&mill.stage("score", &foreign), 2, &["foreign.onnx", "hint:"]);
    }
    refused(&mill.stage("score", &["--set", "score.model=gone.onnx"]), 2, &["gone.onnx"]);
}

#[test]
fn a_model_file_with_another_weight_is_refused_natively() {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    let id = mill.rows::<sermill::tables::history::HistoryRow>("history")[0].model_id.clone();
    let bytes = std::fs::read(mill.store().join("models").join(id).join("model.onnx")).expect("the model");
    let card = ModelCard::from_model(&bytes).expect("own model");
    let mut parameters = import(&bytes, &card).expect("own model");
    parameters.tensors.last_mut().expect("the dense bias").values[0] += 1.0;
    // It is a graph that sermill writes, so only the golden vector finds it out.
    let altered = export(&card.network, &parameters, &card).expect("fits");
    std::fs::write(mill.path("altered.onnx"), altered).expect("written");
    let altered = ["--set", "score.model=altered.onnx", "--provider", "native"];
    refused(&mill.stage("score", &altered), 3, &["native", "golden", "hint:"]);
}

#[test]
fn a_missing_onnx_runtime_is_code_3_and_names_the_command_that_mends_it() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    refused(&mill.stage("train", &["--runtime", "nowhere/libonnxruntime.so"]), 3, &["nowhere", "make runtime"]);
    std::fs::write(mill.path("broken.so"), b"no library").expect("written");
    refused(&mill.stage("train", &["--runtime", "broken.so"]), 3, &["broken.so", "make runtime"]);
    let doctor = mill.run(&["doctor", "--runtime", "nowhere.so"]);
    refused(&doctor, 3, &["make runtime"]);
    assert_eq!(doctor.json()["providers"], serde_json::json!(["native"]), "which needs no library");
}

#[test]
fn training_that_would_not_fit_the_memory_limit_is_refused_before_any_work() {
    let mill = Mill::with_corpus();
    refused(
        &mill.stage("run", &["--memory-limit", "50MB"]),
        2,
        &["training needs", "50.0 MB", "hint:", "--memory-limit"],
    );
    assert!(mill.table("manifest").is_empty(), "refused before the first stage");
    let large = ["--set", "train.network.maps=[64,64,128,128]", "--set", "train.batch=1000"];
    refused(&mill.stage("train", &large), 2, &["batch 1000", "2.00 GB", "lower `[train] batch` to"]);
    for wrong in ["2", "plenty", "0GB"] {
        refused(&mill.stage("train", &["--memory-limit", wrong]), 2, &[wrong, "1500MB"]);
    }
}

#[test]
fn a_features_shard_that_is_cut_or_stored_otherwise_is_refused_by_name() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    let shard = mill.table("features")[1].clone();
    let name = shard.file_name().expect("a name").to_string_lossy().into_owned();
    let bytes = std::fs::read(&shard).expect("shard");
    let rows = sermill::tables::read_rows::<FeatureRow>(&shard).unwrap_or_else(|error| panic!("{error}"));
    // Training reads its own sides alone.
    mill.done("folds", &[]);
    let sides = Sides::of(mill.rows::<FoldRow>("folds"), 0);
    let read = rows.into_iter().filter(|row| sides.get(&row.recording_id, row.copy) == Some(Split::Train));
    let blob = read.filter_map(|row| row.log_mel).next().expect("a spectrogram of the training side");
    std::fs::write(&shard, &bytes[..bytes.len() / 3]).expect("cut");
    refused(&mill.stage("train", &[]), 2, &[&name, "hint:"]);
    assert!(mill.table("history").is_empty());
    // A length before a spectrogram that no longer says what its columns say.
    let mut torn = bytes.clone();
    let at = bytes.windows(blob.len()).position(|bytes| bytes == blob).expect("stored as it is");
    torn[at - 4] ^= 1;
    std::fs::write(&shard, &torn).expect("torn");
    refused(&mill.stage("train", &[]), 2, &[&name, "hint:"]);
    // One bit of a spectrogram.
    torn[at - 4] ^= 1;
    torn[at + blob.len() / 2] ^= 0x10;
    std::fs::write(&shard, &torn).expect("torn");
    refused(&mill.stage("train", &[]), 2, &[&name, "damaged", "hint:"]);
    std::fs::write(&shard, &bytes).expect("mended");
    mill.done("train", &[]);
    // Scoring reads no shard whole: it checks each spectrogram that it reads.
    std::fs::write(&shard, &torn).expect("torn");
    let all = ["--set", "score.splits=[\"train\",\"validation\",\"test\"]"];
    refused(&mill.stage("score", &all), 2, &[&name, "not those that were written", "hint:"]);
    std::fs::write(&shard, &bytes).expect("mended");
    mill.done("score", &all);
}

#[test]
fn cuda_that_is_not_there_is_an_error_and_never_the_cpu() {
    let mill = Mill::with_corpus();
    assert_eq!(mill.stage("run", &[]).code, 0);
    let before = mill.table("predictions");
    let ended = mill.stage("score", &["--device", "cuda"]);
    if ended.code == 0 {
        assert_eq!(ended.json()["provider"], "cuda:0", "a machine with CUDA scores on CUDA");
        return;
    }
    refused(&ended, 3, &["cuda"]);
    assert_eq!(mill.table("predictions"), before);
}

#[test]
fn a_store_that_cannot_be_written_is_code_3() {
    let mill = Mill::with_corpus();
    std::fs::write(mill.store(), b"a file where the store should be").expect("written");
    refused(&mill.stage("ingest", &[]), 3, &["store"]);
}

#[test]
fn a_full_disk_is_code_3_and_leaves_nothing_half_written() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    // A limit on the size of files stops the shards as a full disk would, without needing one.
    let inner = mill.command("features", "demo", &[]);
    let args: Vec<String> = inner.get_args().map(|arg| format!("'{}'", arg.to_string_lossy())).collect();
    let script =
        format!("trap '' XFSZ; ulimit -f 64; exec '{}' {}", inner.get_program().to_string_lossy(), args.join(" "));
    let output = std::process::Command::new("sh").arg("-c").arg(script).output().expect("sh");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("staging/features/part-"), "the file is named: {stderr}");
    assert!(mill.table("features").is_empty());
    assert_eq!(mill.done("features", &[])["recordings"], 28, "the same command finishes once there is room");
}

#[test]
fn a_second_process_on_the_same_stage_is_refused() {
    let mill = Mill::with_corpus();
    let lock = mill.store().join("locks/ingest.lock");
    std::fs::create_dir_all(lock.parent().expect("folder")).expect("folder");
    let file = std::fs::File::create(&lock).expect("lock file");
    file.lock().expect("locked");
    refused(&mill.stage("ingest", &[]), 3, &["another process", "--store"]);
    drop(file);
    mill.done("ingest", &[]);
}

#[test]
fn help_completions_and_the_manual_name_every_stage() {
    let mill = Mill::new();
    for args in [&["--help"][..], &["completions", "bash"], &["manual"]] {
        let ended = mill.run(args);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        for stage in ["ingest", "features", "train", "score", "report"] {
            assert!(ended.stdout.contains(stage), "{args:?} lacks {stage}");
        }
    }
}
