//! The lease log, its indexes, recovery, compaction and cursors.
