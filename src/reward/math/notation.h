// reward/math/notation.h: an answer in mathematical notation, as a tree.
//
//   list      = relation { , | ; | and | or  relation }
//   relation  = ratio { = | < | > | <= | >= | != | ~ | in  ratio }
//   ratio     = sets { : sets }
//   sets      = sum { cup | cap  sum }
//   sum       = [sign] product { + | - | pm  product }
//   product   = factor { [* | /] factor } [unit]            numbers do not follow each other, but for "3 1/2"
//   factor    = base { ^ factor | _ index | ! | % | ° }
//   base      = number | letter | function factor | ( list ) | [ list ] | { list } | \{ list \} | frac | sqrt
//             | | sum | | text | infinity | matrix
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/math/fraction.h"

namespace r1::math {

inline constexpr int kMaxNotationDepth = 200;  // nested calls of the parser; a pair of parentheses takes four

struct Node {
  enum class Kind : uint8_t {
    number,
    symbol,    // name
    add,       // any number of kids
    multiply,  // any number of kids
    divide,    // two kids
    power,     // two kids
    negate,
    root,      // radicand, degree
    function,  // name; the argument, and the base of log
    factorial,
    absolute,
    plus_minus,  // two kids: a pm b
    percent,
    degree,
    binomial,     // two kids
    base_number,  // name: digits; number: the base
    infinity,
    empty_set,
    tuple,      // name: its brackets, such as "(]"; a single element in ( ) is no tuple
    set,        // \{ ... \}
    list,       // elements without brackets
    unite,      // cup
    intersect,  // cap
    relation,   // name: the operators, one character each (= < > L for <=, G for >=, N for !=, ~, i for in)
    matrix,     // name: the number of columns; kids row by row
    ratio,      // a : b
    text,       // name
  };
  Kind kind = Kind::number;
  std::string name;
  Fraction number;
  std::vector<Node> kids;
  std::string unit;  // the words behind a sum or product: "cm", "days"
  bool currency = false;
};

// Returns nothing if the text does not follow the grammar above.
std::optional<Node> parse_notation(std::string_view text);

}  // namespace r1::math
