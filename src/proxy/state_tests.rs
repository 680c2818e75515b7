use super::*;
use crate::config::Config;

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// A disk that is full for a night must not find a journal for each second of it.
#[test]
fn a_snapshot_that_fails_again_and_again_leaves_one_journal() {
    let folder = std::env::temp_dir().join(format!("floodwall-state-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("state");
    let config = Config::default();
    let (state, guard) = StateFile::open(&path, config.policy().clone(), Clock::start()).unwrap();
    // A snapshot cannot be written where a folder stands.
    fs::create_dir(folder.join("state.new")).unwrap();
    for _ in 0..5 {
        state.journal().broken = true;
        state.save(&guard);
    }
    assert!(state.journal().broken);
    let broken = ["state", "state.journal.1", "state.journal.2", "state.lock", "state.new"];
    assert_eq!(names(&folder), broken);

    fs::remove_dir(folder.join("state.new")).unwrap();
    state.save(&guard);
    assert!(!state.journal().broken);
    assert_eq!(names(&folder), ["state", "state.journal.2", "state.lock"]);
    // The next one has a journal of its own again.
    state.journal().broken = true;
    state.save(&guard);
    assert_eq!(names(&folder), ["state", "state.journal.3", "state.lock"]);
    fs::remove_dir_all(&folder).unwrap();
}
