// base/math.h: scalar functions in double whose bits depend on nothing but their argument.
//
// The C library's differ between versions and instruction sets; log-probs and rotary tables may not. Only + -
// * / and explicit fma are used. Accuracy: about 1e-15 relative; rounded to f32 they are right but for ties.
#pragma once

namespace r1 {

double exact_exp(double x);            // 0 below -745, infinity above 709.7; NaN stays NaN
double exact_log(double x);            // x > 0; -infinity at 0, NaN below
double exact_pow(double x, double y);  // x > 0: exact_exp(y * exact_log(x)); relative error |y log x| * 1e-15
void exact_sincos(double x, double* sine, double* cosine);  // |x| <= 2^30

}  // namespace r1
