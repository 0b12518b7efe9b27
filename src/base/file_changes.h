// base/file_changes.h: reports every change that base/file.cc makes on disk, for tests of crashes.
//
// A test that ends the process "at any instant" counts the calls and ends it at the n-th one, so that the
// test depends on no clock.
#pragma once

namespace r1 {

// `hook` is called before each change: before a file is opened for writing, written to, synced, renamed,
// shortened or removed, and before a folder is made. With nullptr (the default) nothing is called. Set the
// hook before any other thread writes files.
void set_file_change_hook(void (*hook)());

}  // namespace r1
