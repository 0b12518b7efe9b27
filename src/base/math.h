// base/math.h: scalar functions in double whose bits depend on nothing but their arguments.
//
// The C library's functions differ between versions and instruction sets; log-probs and rotary tables must
// not. Only + - * / and explicit fma are used. The relative error is about 1e-15; results rounded to f32 are
// correct except near ties.
#pragma once

namespace r1 {

double exact_exp(double x);            // 0 below -745, infinity above 709.7; NaN stays NaN
double exact_log(double x);            // x > 0; -infinity at 0, NaN below
double exact_pow(double x, double y);  // x > 0: exact_exp(y * exact_log(x)); relative error |y log x| * 1e-15
void exact_sincos(double x, double* sine, double* cosine);  // |x| <= 2^30

}  // namespace r1
