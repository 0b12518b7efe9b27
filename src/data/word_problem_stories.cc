// data/word_problem_stories.cc: the stories, six per level. Their numbers give every step an exact value.
// Plurals are safe because no counted number is below 2.
#include "base/error.h"
#include "data/word_problems.h"

namespace r1 {
namespace {

using Drawn = std::optional<Story>;

Story whole(std::vector<int64_t> numbers, int64_t answer) {
  return {std::move(numbers), {answer, 1}};
}

Story quotient(std::vector<int64_t> numbers, int64_t num, int64_t den) {
  const auto answer = apply_operator('/', {num, 1}, {den, 1});
  R1_CHECK(answer.has_value(), num, "/", den);
  return {std::move(numbers), *answer};
}

// ---- level 1: two steps ----

Drawn draw_change(Random& r) {
  const int64_t count = r.between(2, 12), price = r.between(2, 15), paid = 10 * r.between(1, 20);
  if (paid <= count * price || paid > count * price + 50) return std::nullopt;
  return whole({count, price, paid}, paid - count * price);
}

Drawn draw_bags(Random& r) {
  const int64_t bags = r.between(2, 12), each = r.between(2, 20), given = r.between(2, 60);
  if (given >= bags * each) return std::nullopt;
  return whole({bags, each, given}, bags * each - given);
}

Drawn draw_pages(Random& r) {
  const int64_t pages = r.between(60, 400), daily = r.between(5, 40), days = r.between(2, 14);
  if (daily * days >= pages) return std::nullopt;
  return whole({pages, daily, days}, pages - daily * days);
}

Drawn draw_seats(Random& r) {
  const int64_t rows = r.between(4, 30), seats = r.between(4, 25), taken = r.between(2, 300);
  if (taken >= rows * seats) return std::nullopt;
  return whole({rows, seats, taken}, rows * seats - taken);
}

Drawn draw_bus(Random& r) {
  const int64_t start = r.between(5, 50), off = r.between(2, 30), on = r.between(2, 30);
  if (off > start) return std::nullopt;
  return whole({start, off, on}, start - off + on);
}

Drawn draw_share(Random& r) {
  const int64_t friends = r.between(2, 9), share = r.between(2, 15), kept = r.between(2, 12);
  return whole({friends * share + kept, kept, friends}, share);
}

// ---- level 2: three or four steps ----

Drawn draw_journey(Random& r) {
  const int64_t v1 = 5 * r.between(6, 24), t1 = r.between(2, 6), v2 = 5 * r.between(6, 24),
                t2 = r.between(2, 6);
  const int64_t trip = v1 * t1 + v2 * t2, total = trip + 10 * r.between(1, 30);
  return whole({total, v1, t1, v2, t2}, total - trip);
}

Drawn draw_recipe(Random& r) {
  const int64_t servings = r.between(2, 8), each = 5 * r.between(2, 30), wanted = r.between(3, 20);
  const int64_t have = 10 * r.between(1, 40), need = each * wanted;
  if (wanted == servings || have >= need) return std::nullopt;
  return whole({servings, servings * each, wanted, have}, need - have);
}

Drawn draw_wages(Random& r) {
  const int64_t hours = r.between(3, 9), days = r.between(2, 6), pay = r.between(9, 30);
  const int64_t bonus = 5 * r.between(2, 20), rent = 10 * r.between(3, 40);
  const int64_t left = hours * days * pay + bonus - rent;
  if (left < 0) return std::nullopt;
  return whole({days, hours, pay, bonus, rent}, left);
}

Drawn draw_tank(Random& r) {
  const int64_t in = r.between(5, 40), out = r.between(2, 20), minutes = r.between(3, 60);
  const int64_t already = 5 * r.between(1, 40);
  if (out >= in) return std::nullopt;
  return whole({already + (in - out) * minutes, already, in, out}, minutes);
}

Drawn draw_fence(Random& r) {
  const int64_t length = r.between(5, 60), width = r.between(4, 40), gate = r.between(2, 4),
                price = r.between(3, 25);
  if (width >= length) return std::nullopt;
  return whole({length, width, gate, price}, (2 * (length + width) - gate) * price);
}

Drawn draw_ages(Random& r) {
  const int64_t times = r.between(2, 5), years = r.between(2, 15), younger = r.between(3, 20);
  return whole({younger, times, years}, younger * times + younger + 2 * years);
}

// ---- level 3: something to solve for, or a fraction ----

Drawn draw_together(Random& r) {
  const int64_t a = r.between(2, 15), b = r.between(2, 15);
  if (a == b) return std::nullopt;
  return quotient({a, b}, a * b, a + b);
}

Drawn draw_average_speed(Random& r) {
  const int64_t v1 = 5 * r.between(2, 24), t1 = r.between(2, 6), v2 = 5 * r.between(2, 24),
                t2 = r.between(2, 6);
  if (v1 == v2) return std::nullopt;
  return quotient({v1, t1, v2, t2}, v1 * t1 + v2 * t2, t1 + t2);
}

Drawn draw_legs(Random& r) {
  const int64_t hens = r.between(2, 40), rabbits = r.between(2, 40);
  return whole({hens + rabbits, 2 * hens + 4 * rabbits}, rabbits);
}

Drawn draw_tickets(Random& r) {
  const int64_t adults = r.between(2, 60), children = r.between(2, 60), child = r.between(2, 9);
  const int64_t adult = child + r.between(2, 12);
  return whole({adult, child, adults + children, adult * adults + child * children}, adults);
}

Drawn draw_catch_up(Random& r) {
  const int64_t slow = r.between(3, 20), fast = slow + r.between(2, 20), head = r.between(2, 6);
  return quotient({slow, head, fast}, slow * head, fast - slow);
}

Drawn draw_discount(Random& r) {
  const int64_t count = r.between(2, 12), price = 5 * r.between(2, 40), percent = 5 * r.between(1, 12);
  const int64_t voucher = r.between(2, 20);
  if (count * price * (100 - percent) <= 100 * voucher) return std::nullopt;
  return quotient({count, price, percent, voucher}, count * price * (100 - percent) - 100 * voucher, 100);
}

}  // namespace

const std::vector<StoryTemplate>& story_templates() {
  // clang-format off
  static const std::vector<StoryTemplate> templates{
      {"change", 1, draw_change,
       {"$N [buys|gets] $1 $t at $2 dollars each and pays with $3 dollars. How many dollars [of change "
        "does $N get|does $N get back]?",
        "One of the $t costs $2 euros. $N takes $1 of them and hands over $3 euros. How much change, in "
        "euros, [is due|does $N get]?"}},
      {"bags", 1, draw_bags,
       {"$N has $1 bags with $2 $t in each. [After giving|If $N gives] $3 $t to $M, how many $t [are "
        "left|does $N have left]?",
        "There are $2 $t in each of $N's $1 boxes. $N [sells|loses|gives away] $3 of the $t. How many "
        "remain?"}},
      {"pages", 1, draw_pages,
       {"A book has $1 pages. $N reads $2 pages a day for $3 days. How many pages are [left|still to be "
        "read]?",
        "$N reads $2 pages [every|each] day of a book with $1 pages. How many pages remain after $3 days?"}},
      {"seats", 1, draw_seats,
       {"A [hall|cinema|theatre] has $1 rows of $2 seats. $3 seats are taken. How many are [free|empty]?",
        "In a room with $1 rows and $2 chairs in each row, $3 people sit down. How many chairs [stay "
        "empty|are not used]?"}},
      {"bus", 1, draw_bus,
       {"A [bus|tram|train] carries $1 people. At a stop $2 get off and $3 get on. How many people [are on "
        "it now|does it carry then]?",
        "$1 guests are at $N's party. $2 leave, then $3 more arrive. How many guests are there [now|then]?"}},
      {"share", 1, draw_share,
       {"$N has $1 $t, keeps $2 and shares the rest equally among $3 friends. How many does each friend "
        "get?",
        "Of $1 $t, $N puts $2 aside and [divides|splits] the others evenly between $3 children. How many "
        "$t does [each child|every child] get?"}},

      {"journey", 2, draw_journey,
       {"$N has to [drive|travel] $1 km: first $2 km/h for $3 hours, then $4 km/h for $5 hours. How many "
        "kilometres are [left|still to go] after that?",
        "A trip is $1 kilometres long. $N goes $3 hours at $2 km/h and $5 hours at $4 km/h. What distance "
        "in kilometres [remains|is left]?"}},
      {"recipe", 2, draw_recipe,
       {"A recipe for $1 people needs $2 grams of flour. $N cooks for $3 people and has $4 grams. How many "
        "more grams of flour [are needed|does $N need]?",
        "$N needs $2 g of rice for $1 servings. There are $4 g in the kitchen. How many grams [must $N "
        "buy|are missing] for $3 servings?"}},
      {"wages", 2, draw_wages,
       {"$N works $1 days, $2 hours a day, for $3 dollars an hour, and gets a bonus of $4 dollars. After "
        "paying $5 dollars for [rent|a course|a ticket], how many dollars [are left|does $N have]?",
        "For $3 euros an hour $N works $2 hours on each of $1 days. A bonus of $4 euros is added and $5 "
        "euros are spent on [food|rent]. How many euros remain?"}},
      {"tank", 2, draw_tank,
       {"A tank holds $1 litres and has $2 litres in it. A pump adds $3 litres a minute while $4 litres a "
        "minute leak out. [After how many|How many] minutes until it is full?",
        "[A pool|A pond|A barrel] for $1 litres already contains $2 litres. Each minute $3 litres flow in "
        "and $4 litres flow out. How many minutes does it take to fill it?"}},
      {"fence", 2, draw_fence,
       {"A [garden|field|yard] is $1 m long and $2 m wide. A fence goes round it except for a gate of $3 "
        "m, and costs $4 dollars a metre. [How many dollars does the fence cost?|What does the fence cost "
        "in dollars?]",
        "$N fences a rectangle of $1 by $2 metres, leaving a gap of $3 metres. At $4 euros per metre, "
        "[what is the price in euros|how many euros is that]?"}},
      {"ages", 2, draw_ages,
       {"$N is $1 years old and $M is $2 times as old. What [is|will be] the sum of their ages in $3 years?",
        "$M is $2 times as old as $N, who is $1. How old will they be [together|in sum] in $3 years?"}},

      {"together", 3, draw_together,
       {"$N paints a [fence|room|wall] in $1 hours, $M in $2 hours. How many hours do they need together? "
        "[Give a fraction if needed.|An exact fraction, please.]",
        "One pump empties a pool in $1 hours, another in $2 hours. How many hours do both take together[, "
        "exactly|]?"}},
      {"average_speed", 3, draw_average_speed,
       {"$N goes $1 km/h for $2 hours and $3 km/h for $4 hours. What is the average speed in km/h[, as an "
        "exact number|]?",
        "A train runs $2 hours at $1 km/h, then $4 hours at $3 km/h. [Find|Give|Compute] its exact "
        "average speed in km/h."}},
      {"legs", 3, draw_legs,
       {"A [farm|yard] has hens and rabbits: $1 heads and $2 legs. How many rabbits are there?",
        "$N counts $1 heads and $2 legs among [some hens and rabbits|the hens and rabbits]. How many of "
        "the animals are rabbits?"}},
      {"tickets", 3, draw_tickets,
       {"Tickets cost $1 dollars for adults and $2 dollars for children. $3 people pay $4 dollars in all. "
        "How many [adults are there|of them are adults]?",
        "At $1 euros an adult and $2 euros a child, $3 visitors pay $4 euros. [How many adults came?|Find "
        "the number of adults.]"}},
      {"catch_up", 3, draw_catch_up,
       {"$N walks at $1 km/h. $2 hours later $M follows on the same road at $3 km/h. How many hours after "
        "starting does $M [catch up|reach $N]?[ Give a fraction if needed.|]",
        "A boat leaves at $1 km/h, and $2 hours later a second one follows at $3 km/h. After how many "
        "hours of its own does the second [catch|reach] the first[, exactly|]?"}},
      {"discount", 3, draw_discount,
       {"$N buys $1 $t at $2 dollars each, with $3 percent off and a voucher worth $4 dollars after that. "
        "How many dollars [does $N pay|are to be paid][, exactly|]?",
        "$1 $t cost $2 euros each. The shop takes $3 % off the total, then another $4 euros. What is the "
        "[price|total] in euros[, exactly|]?"}},
  };
  // clang-format on
  return templates;
}

}  // namespace r1
