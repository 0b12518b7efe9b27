// base/file_changes.h: for tests of crashes: a look at every change that base/file.cc makes on disk.
//
// A test that wants to end the process "at any instant" counts these calls and ends it at the n-th, so that
// it depends on no clock.
#pragma once

namespace r1 {

// `hook` is called before each change: a file is opened for writing, written to, synced, renamed, shortened
// or removed, a folder is made. nullptr (the default): nothing is called. Call it before any other thread
// writes files.
void set_file_change_hook(void (*hook)());

}  // namespace r1
