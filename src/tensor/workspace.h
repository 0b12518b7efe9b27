// tensor/workspace.h: the arenas of work on a device, and a context over them.
#pragma once

#include <memory>

#include "tensor/context.h"
#include "tensor/work_stream.h"

namespace r1 {

// Tensors lie in `memory`, whose device runs the ops; `limit` bounds their bytes, as Arena's. The context has
// no tape. The threads outlive the workspace.
struct Workspace {
  Workspace(ThreadPool& threads, Numerics numerics, Memory& memory = host_memory(),
            size_t limit = Arena::kDefaultLimit)
      : arena(limit, memory),
        host(memory.device() == Device::cpu ? nullptr : std::make_unique<Arena>()),
        ctx{.arena = arena,
            .threads = threads,
            .device = memory.device(),
            .numerics = numerics,
            .host_arena = host.get(),
            .stream = work_stream(memory)} {}
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  Arena arena;
  std::unique_ptr<Arena> host;  // null if `arena` is in the host's memory
  Context ctx;
};

}  // namespace r1
