//! Another program changes a file while a diff that lists it is applied: it is noticed until the
//! journal counts, and then nothing is lost.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::meddler::{Fate, Meddler};
use crate::apply::apply_on;
use crate::source::Source;
use crate::system::{Linux, System};
use crate::{ApplyOptions, ApplyStatus, apply_status};
use testing::{everything, snapshot};

#[test]
fn a_change_by_another_program_is_noticed_and_kept() {
    let case = everything();
    let after = snapshot(&case.new);
    let (mut noticed, mut late) = (0, 0);
    for at in 0.. {
        let tree = case.copy_of_old();
        let (calls, path) = (Arc::new(AtomicUsize::new(0)), tree.clone());
        let count = Arc::clone(&calls);
        let committed = AtomicBool::new(false);
        let system = Meddler::new(Arc::new(Linux), move |_| {
            let journal = path.join(".ibtools-apply/journal").exists();
            let committed = committed.fetch_or(journal, Ordering::Relaxed) || journal;
            if count.fetch_add(1, Ordering::Relaxed) == at && !committed {
                fs::write(path.join("edited"), "precious").unwrap();
            }
            Fate::Made
        });
        let system: Arc<dyn System> = Arc::new(system);
        let options = ApplyOptions::default();
        let done = apply_on(system, &tree, (&case.diff).into(), Source::Data(&case.data), &options);
        let kept = fs::read(tree.join("edited")).unwrap() == b"precious";
        assert_eq!(apply_status(&tree).unwrap(), ApplyStatus::Clean);
        match done {
            Err(error) => {
                assert!(kept, "call {at}: lost after {error}");
                noticed += 1;
            }
            Ok(_) => {
                assert_eq!(snapshot(&tree), after, "call {at}");
                late += 1;
            }
        }
        fs::remove_dir_all(tree).unwrap();
        if calls.load(Ordering::Relaxed) <= at {
            break;
        }
    }
    println!("{noticed} noticed, {late} too late");
    // After the last look at the file, or after the commit, when nothing is changed here.
    assert!(noticed > 120 && late > noticed / 10, "{noticed} noticed, {late} too late");
}
