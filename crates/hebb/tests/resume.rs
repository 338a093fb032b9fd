//! A run killed at random moments ends with the same bits as one never killed.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{at, ok, run_with_kills, same_end, scratch};

#[test]
fn pretraining_and_fine_tuning_survive_kills() {
    let dir = scratch(40);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    // Another moment at each run of the test; printed, so that it can be had again.
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    println!("seed {now}");
    let mut rng = hebbian_data::seed::stream(u64::from(now), "kills");
    let mut kills = 0;
    let runs = [("together", "constant", "hpca-tanh-adaptive"), ("successive", "linear", "hpca")];
    for (order, schedule, rule) in runs {
        let setting = format!("pretrain.order={order}");
        let schedule = format!("pretrain.schedule={schedule}");
        let tolerance = "pretrain.tolerance=1e-9";
        let common = ["pretrain", &photos, "--network", &network, "--set", &setting];
        let more = ["--set", tolerance, "--set", "pretrain.batch=16", "--epochs", "3"];
        let base = [&common[..], &more[..], &["--set", &schedule, "--rule", rule]].concat();
        let (unbroken, killed) = (at(&dir, &format!("a-{order}")), at(&dir, &format!("b-{order}")));
        ok(&[&base[..], &["--out", &unbroken]].concat());
        let often = ["--out", &killed, "--resume", "--checkpoint-every", "0"];
        kills += run_with_kills(&[&base[..], &often].concat(), &mut rng);
        same_end(&unbroken, &killed);
    }
    let vae = ["pretrain", &photos, "--method", "vae", "--network", &network, "--epochs", "3"];
    let more = ["--set", "vae.batch=64", "--set", "vae.latent=8", "--validation", &photos];
    let base = [&vae[..], &more].concat();
    let (unbroken, killed) = (at(&dir, "a-vae"), at(&dir, "b-vae"));
    ok(&[&base[..], &["--out", &unbroken]].concat());
    let often = ["--out", &killed, "--resume", "--checkpoint-every", "0"];
    kills += run_with_kills(&[&base[..], &often].concat(), &mut rng);
    same_end(&unbroken, &killed);
    let base = ["pretrain", &photos, "--network", &network];
    let (unbroken, killed) = (at(&dir, "a-pca"), at(&dir, "b-pca"));
    ok(&[&base[..], &["--out", &unbroken]].concat());
    kills += run_with_kills(&[&base[..], &["--out", &killed, "--resume"]].concat(), &mut rng);
    same_end(&unbroken, &killed);
    let model = at(&dir, "a-together");
    for (name, more) in [("linear", &[][..]), ("hidden", &["--hidden", "40"])] {
        let base = ["finetune", &photos, "--model", &model, "--set", "finetune.batch=16"];
        let base = [&base[..], more].concat();
        let (unbroken, killed) = (at(&dir, &format!("c-{name}")), at(&dir, &format!("d-{name}")));
        ok(&[&base[..], &["--out", &unbroken]].concat());
        let often = ["--out", &killed, "--resume", "--checkpoint-every", "0"];
        kills += run_with_kills(&[&base[..], &often].concat(), &mut rng);
        same_end(&unbroken, &killed);
    }
    println!("killed {kills} times");
    assert!(kills >= 3, "killed only {kills} times: too fast to show anything");
}

#[test]
fn a_used_folder_and_other_settings_are_refused() {
    let dir = scratch(3);
    let (photos, network, run) = (at(&dir, "photos"), at(&dir, "small.toml"), at(&dir, "run"));
    let base = ["pretrain", &photos, "--network", &network, "--rule", "hpca", "--out", &run];
    ok(&base);
    common::fails(&base, 1, &["in use", "--resume", "--overwrite"]);
    let changed = [&base[..], &["--resume", "--epochs", "5"]].concat();
    common::fails(&changed, 1, &["config.toml", "line", "epochs = 2", "epochs = 5"]);
    ok(&[&base[..], &["--resume"]].concat());
    ok(&[&base[..], &["--overwrite"]].concat());
    // A folder that is no run is never thrown away.
    common::fails(
        &["pretrain", &photos, "--network", &network, "--out", &photos, "--overwrite"],
        1,
        &["no run folder"],
    );
}

#[test]
fn a_run_killed_before_it_began_is_begun() {
    let dir = scratch(2);
    let (photos, network, run) = (at(&dir, "photos"), at(&dir, "small.toml"), at(&dir, "run"));
    std::fs::create_dir_all(format!("{run}/checkpoints")).unwrap();
    std::fs::write(format!("{run}/config.toml.17.tmp"), "see").unwrap();
    let base = ["pretrain", &photos, "--network", &network, "--epochs", "1", "--out", &run];
    ok(&[&base[..], &["--resume"]].concat());
    assert!(std::fs::exists(format!("{run}/model/model.toml")).unwrap());
}
