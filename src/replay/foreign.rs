//! Foreign logs: one thread reads, and one for each world decides.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::input::{InputError, Log};
use super::lines::{Batch, Counts, Format, Reader};
use super::report::{Read, Report, WorldReport};
use super::world::{Kind, World};
use super::{Counters, Setting};

/// Batches under way to a world: more would only take memory.
const AHEAD: usize = 4;

/// Reads the logs in this order.
pub(super) fn replay(
    setting: &Setting,
    logs: Vec<(Format, Log)>,
    counters: &Counters,
) -> Result<Report, InputError> {
    let names = logs.iter().map(|(format, log)| (log.name.clone(), *format)).collect();
    thread::scope(|scope| {
        let mut to_worlds = Vec::new();
        let mut worlds = Vec::new();
        for kind in Kind::ALL {
            let (to, from) = sync_channel::<Arc<Batch>>(AHEAD);
            to_worlds.push(to);
            worlds.push(scope.spawn(move || live(kind, setting, &from)));
        }
        let read = read(setting, logs, counters, &to_worlds);
        drop(to_worlds);
        let worlds: Vec<WorldReport> = worlds
            .into_iter()
            .map(|world| world.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        let (counts, clients) = read?;
        Ok(Report::of_worlds(setting, Read { logs: names, counts, clients }, worlds))
    })
}

/// One world, until no more comes.
fn live(kind: Kind, setting: &Setting, from: &Receiver<Arc<Batch>>) -> WorldReport {
    let mut world: Option<World<'_>> = None;
    for batch in from {
        if let Some(first) = batch.lines.first() {
            world.get_or_insert_with(|| World::new(kind, setting, first.unix_ms)).take(&batch);
        }
    }
    let mut world = world.unwrap_or_else(|| World::new(kind, setting, 0));
    world.end();
    WorldReport::of(world)
}

fn read(
    setting: &Setting,
    logs: Vec<(Format, Log)>,
    counters: &Counters,
    to_worlds: &[SyncSender<Arc<Batch>>],
) -> Result<(Counts, u64), InputError> {
    let mut reader = Reader::new(setting);
    for (format, mut log) in logs {
        reader.reads(format);
        log.begin(&counters.bytes)?;
        while let Some(block) = log.block()? {
            reader.too_long(block.too_long);
            let batch = Arc::new(reader.batch(block.bytes));
            counters.lines.store(reader.counts.lines, Ordering::Relaxed);
            for world in to_worlds {
                // A world that has ended by a panic tells of it when it is joined.
                let _ = world.send(Arc::clone(&batch));
            }
        }
    }
    Ok((reader.counts.clone(), reader.clients.count()))
}
