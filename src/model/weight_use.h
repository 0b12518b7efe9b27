// model/weight_use.h: what a loaded model is for, and so how its weights are held.
#pragma once

#include <cstdint>

namespace r1 {

//   training   matrices are read into memory, where they can be changed; every value is checked
//   inference  a matrix is frozen: it is held once, in the form in which the forward reads it, made from the
//              file when the forward first needs it. What else needs its values (save, hash, clone) reads the
//              file again, so the files must stay as they are. Values of matrices are not checked: the
//              forward's logits are
//   guessing   as inference; the MTP head (model/prediction.h) is loaded too, if the checkpoint has one
enum class WeightUse : uint8_t { training, inference, guessing };

}  // namespace r1
