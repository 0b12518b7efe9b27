// data/split.h: which side of the fence a generated problem lies on. A problem's side is a property of the
// problem (a hash of its content), never of the seed that drew it, so no two seeds can mix the sides.
#pragma once

namespace r1 {

enum class Split { train, held_out };

}  // namespace r1
