//! A stream at the log's tail, or one that catches up with others: what the hub has found for it, or encoded for all that share.

use leaseq_store::{LogCursor, Stamp};
use leaseq_wire::{Full, OutBuf, frame};

use super::{Next, Reading, Sent, Stream, joining};
use crate::active::hub::{Caught, Shared};
use crate::query::{QueryContext, Quota};
use crate::settings::Family;

impl Stream {
    /// Tells what waits for a stream at the tail.
    pub(super) fn tell_tail(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
        sent: &mut Sent,
    ) -> Result<Next, Full> {
        if self.hub.lock().is_sharing(self.member) {
            return self.copy_shared(cx, out, sent);
        }
        let caught = self.hub.lock().caught(self.member);
        match caught {
            Caught::No => {}
            Caught::Missed => return self.miss(cx, out, sent).map(|()| Next::Told),
            Caught::Up(from, read) => {
                if cx.view.dropped_until() >= read {
                    return self.miss(cx, out, sent).map(|()| Next::Told);
                }
                self.caught_up(cx, read, out, sent)?;
                self.hub.lock().leave(self.member);
                self.join_from(cx, from, read);
                return Ok(Next::Told);
            }
        }
        let waiting = {
            let hub = self.hub.lock();
            let overrun = hub.is_overrun(self.member);
            hub.pending(self.member).map(|pending| {
                let cursor = pending.cursor.clone();
                (cursor, pending.last, pending.stamp, overrun)
            })
        };
        let Some((mut cursor, last, stamp, overrun)) = waiting else {
            if self.can_share && self.said {
                let joining = joining(self, 0);
                self.hub.lock().share(self.member, cx.view, &joining);
            }
            return Ok(Next::Nothing);
        };
        let dropped = cx.view.dropped_until();
        if dropped >= stamp {
            return self.miss(cx, out, sent).map(|()| Next::Told);
        }
        if overrun {
            let from = cursor.next_sequence();
            self.fall_behind(cx, cursor, from, stamp);
            return Ok(Next::Told);
        }
        quota.examined = quota.examined.saturating_sub(1);
        // A record that was superseded meanwhile may have been compacted away: its successor waits too.
        let record = cx
            .view
            .next_record(&mut cursor)
            .filter(|record| record.sequence() <= last);
        if let Some(record) = &record
            && self.teller.may_concern(record)
            && cx.view.is_newest(record)
        {
            self.tell(cx, record, out, sent)?;
        }
        self.hub.lock().told(self.member, record.as_ref(), cursor);
        Ok(Next::Told)
    }

    /// Copies the next messages that are shared with other streams.
    pub(super) fn copy_shared(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        sent: &mut Sent,
    ) -> Result<Next, Full> {
        let mut hub = self.hub.lock();
        let (place, sequence) = match hub.shared(self.member) {
            Shared::None => {
                hub.shared_all(self.member);
                return Ok(Next::Nothing);
            }
            Shared::Lost(cursor, from) => {
                drop(hub);
                self.fall_behind(cx, cursor, from, self.base);
                return Ok(Next::Told);
            }
            Shared::Entry(entry) => {
                let length = entry.frames.len();
                let fits = length <= out.remaining();
                if !fits && !out.is_empty() {
                    return Err(Full);
                }
                let room = if fits {
                    out.reserve(length)?
                } else {
                    self.spill.resize(length, 0);
                    &mut self.spill
                };
                room.copy_from_slice(entry.frames);
                set_xid(room, self.family, self.xid);
                self.base = self.base.max(Stamp::from_millis(entry.stamp));
                sent.messages += u64::from(entry.messages);
                sent.bindings += u64::from(entry.bindings);
                (entry.next, entry.sequence)
            }
        };
        hub.shared_up_to(self.member, place, sequence);
        Ok(Next::Told)
    }

    /// Reads the log from this place on, without what precedes the sequence: more waits than is held for a stream.
    pub(super) fn fall_behind(
        &mut self,
        cx: &QueryContext<'_>,
        cursor: LogCursor,
        from: u64,
        read: Stamp,
    ) {
        self.hub.lock().leave(self.member);
        self.count().lagged.increment();
        self.reading = Some(Reading {
            cursor,
            from,
            read,
            // What may have been dropped of what is read is found missing at once.
            dropped: Some(cx.view.dropped_until())
                .filter(|dropped| *dropped < read)
                .unwrap_or_default(),
            alone: self.hub.read_alone(),
        });
    }
}

/// Writes the transaction id into each of the frames.
fn set_xid(frames: &mut [u8], family: Family, xid: u32) {
    let mut rest = frames;
    while let Some((length, message)) = rest.split_first_chunk_mut::<{ frame::HEADER }>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((message, next)) = message.split_at_mut_checked(length) else {
            return;
        };
        let octets = xid.to_be_bytes();
        let (at, octets) = match family {
            Family::V4 => (4..8, &octets[..]),
            Family::V6 => (1..4, &octets[1..]),
        };
        if let Some(place) = message.get_mut(at) {
            place.copy_from_slice(octets);
        }
        rest = next;
    }
}
