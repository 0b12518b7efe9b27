# CUDA: every src/**/*.cu is compiled by nvcc and joins its layer's library. Included by CMakeLists.txt.
#
#   R1_CUDA                 AUTO (the default): ON if nvcc is found; ON: nvcc is needed; OFF
#   R1_CUDA_ARCHITECTURES   compute capabilities, "80;89;90a" for a release; "90a" (the default) is one card, and compiles soonest
#   R1_CUDA_PTX             ON (the default): programs contain PTX for sm_80 and sm_90a as well. The driver compiles it for cards that
#                           have no kernels of their own, and the tests run it without a GPU (tests/emulator)
#
# Bits: no FMA that is not written, divisions and roots rounded correctly, denormals kept.
set(R1_CUDA AUTO CACHE STRING "CUDA kernels: AUTO (if nvcc is found), ON or OFF")
set(R1_CUDA_ARCHITECTURES 90a CACHE STRING "compute capabilities that get kernels, e.g. 80;89;90a")

find_program(R1_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
set(R1_HAS_CUDA OFF)
if(R1_CUDA STREQUAL AUTO)
  if(R1_NVCC AND NOT R1_SANITIZE AND NOT CMAKE_CROSSCOMPILING AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    set(R1_HAS_CUDA ON)
  endif()
elseif(R1_CUDA)
  if(NOT R1_NVCC)
    message(FATAL_ERROR "R1_CUDA is ON, but nvcc is not found: install the CUDA toolkit 13, set CUDA_HOME, or use -DR1_CUDA=OFF")
  endif()
  set(R1_HAS_CUDA ON)
endif()
if(NOT R1_HAS_CUDA)
  message(STATUS "CUDA kernels: none (R1_CUDA is ${R1_CUDA}, nvcc is ${R1_NVCC})")
  return()
endif()
message(STATUS "CUDA kernels: for ${R1_CUDA_ARCHITECTURES}, by ${R1_NVCC}")

get_filename_component(R1_CUDA_ROOT ${R1_NVCC} REALPATH)
get_filename_component(R1_CUDA_ROOT ${R1_CUDA_ROOT}/../.. ABSOLUTE)
find_library(R1_CUDART cudart_static REQUIRED HINTS ${R1_CUDA_ROOT}/lib64 ${R1_CUDA_ROOT}/targets/${CMAKE_SYSTEM_PROCESSOR}-linux/lib)

set(R1_NVCC_FLAGS -std=c++20 -O2 -fmad=false --prec-div=true --prec-sqrt=true --ftz=false -DR1_CUDA
    -I${CMAKE_SOURCE_DIR}/src -I${CMAKE_SOURCE_DIR} -ccbin ${CMAKE_CXX_COMPILER} -Xcompiler=-Wall,-Wextra,-ffp-contract=off)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND R1_NVCC_FLAGS -Xcompiler=-march=x86-64-v3)
endif()
if(R1_DEV)
  list(APPEND R1_NVCC_FLAGS -Werror=all-warnings)
endif()
if(90a IN_LIST R1_CUDA_ARCHITECTURES)
  list(APPEND R1_NVCC_FLAGS -DR1_SM90A)  # wgmma
endif()
foreach(architecture IN LISTS R1_CUDA_ARCHITECTURES)
  list(APPEND R1_NVCC_FLAGS -gencode=arch=compute_${architecture},code=sm_${architecture})
endforeach()
option(R1_CUDA_PTX "PTX beside the kernels" ON)
if(R1_CUDA_PTX)
  foreach(architecture 80 90a)
    list(APPEND R1_NVCC_FLAGS -gencode=arch=compute_${architecture},code=compute_${architecture})
  endforeach()
  list(APPEND R1_NVCC_FLAGS -DR1_SM90A)
  list(REMOVE_DUPLICATES R1_NVCC_FLAGS)
endif()

# Sets `objects` in the caller to the objects of the .cu files. Further arguments are flags of nvcc.
function(r1_cuda_objects objects files)
  set(made)
  foreach(file IN LISTS files)
    file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR} ${file})
    string(REPLACE / . name ${name})
    set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
    add_custom_command(OUTPUT ${object} DEPENDS ${file} DEPFILE ${object}.d VERBATIM COMMENT "Building CUDA object ${name}.o"
      COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${R1_NVCC} ${R1_NVCC_FLAGS} ${ARGN} -MD -MT ${object} -MF ${object}.d -c -o ${object} ${file})
    list(APPEND made ${object})
  endforeach()
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/cuda)
  set_source_files_properties(${made} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  set(${objects} ${made} PARENT_SCOPE)
endfunction()

# Adds the CUDA files of a layer to its library.
function(r1_cuda_layer name)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cu)
  r1_cuda_objects(objects "${files}")
  target_sources(r1_${name} PRIVATE ${objects})
  target_compile_definitions(r1_${name} PRIVATE R1_CUDA)
endfunction()
r1_cuda_layer(tensor)
target_link_libraries(r1_tensor PUBLIC ${R1_CUDART} ${CMAKE_DL_LIBS} rt Threads::Threads)
r1_cuda_layer(ops)

# The programs of the GPU suite (./test --gpu). They find their shared libraries in lib/ beside them, where scripts/gpu_suite.sh --pack
# puts them for a machine that has no more than a driver and the C library; elsewhere the system's are found.
function(r1_gpu_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE r1_ops)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE R1_CUDA)
  target_link_options(${name} PRIVATE -Wl,--disable-new-dtags)  # DT_RPATH: the libraries find each other by it too
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX BUILD_RPATH "$ORIGIN/lib")
endfunction()
if(R1_TESTS)
  find_package(GTest REQUIRED)
  file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/gpu/*_test.cc)
  r1_cuda_objects(kernels "${CMAKE_SOURCE_DIR}/tests/gpu/exp_kernel.cu;${CMAKE_SOURCE_DIR}/tests/gpu/trap_kernel.cu")
  r1_gpu_program(gpu_test ${tests} ${kernels})
  target_link_libraries(gpu_test PRIVATE r1_recipe GTest::gtest_main)
  if(90a IN_LIST R1_CUDA_ARCHITECTURES)
    r1_cuda_objects(bits "${CMAKE_SOURCE_DIR}/tests/gpu/matmul_bits_test.cu")
    r1_gpu_program(gpu_bits_test ${bits})
  endif()
  if(R1_CUDA_PTX AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    # The same tests and kernels, on a GPU that is emulated: its objects take the place of CUDA's runtime library.
    pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)  # nvcc compresses PTX by it
    file(GLOB emulator CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/emulator/*.cc)
    list(FILTER emulator EXCLUDE REGEX "_test.cc$")
    r1_cuda_objects(faults "${CMAKE_SOURCE_DIR}/tests/emulator/fault_kernels.cu")
    add_library(r1_emulator OBJECT ${emulator})
    target_include_directories(r1_emulator PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/src)
    target_include_directories(r1_emulator SYSTEM PRIVATE ${R1_CUDA_ROOT}/include ${R1_CUDA_ROOT}/targets/${CMAKE_SYSTEM_PROCESSOR}-linux/include)
    target_compile_options(r1_emulator PRIVATE -O3 -fno-strict-aliasing)
    file(GLOB emulator_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/emulator/*_test.cc)
    r1_gpu_program(gpu_emulated_test ${tests} ${kernels} ${faults} ${emulator_tests} $<TARGET_OBJECTS:r1_emulator>)
    target_link_libraries(gpu_emulated_test PRIVATE r1_recipe GTest::gtest_main PkgConfig::ZSTD)
    # Tests of seconds; ./test --long runs all of them.
    string(JOIN : tensor_tests CudaBf16Ops.* CudaBf16Model.IsNear* CudaTensorMoe.* CudaTensorProduct.IsNear* CudaTensorProduct.EveryKernelComputes*
      CudaTensorProduct.Cuts* CudaTensorProduct.NaN* CudaTensorProduct.FewRows* CudaTensorProduct.Takes* CudaTensorProduct.EveryPlan* CudaTensorProduct.Shards*
      CudaTensorAttention.IsNear*
      CudaTensorAttention.Takes* CudaTensorAttention.RowsBeside* CudaTensorAttention.Families* CudaQuant.Several* CudaQuant.LookUps*
      CudaQuant.Refuses*)
    string(JOIN : f32_tests CudaElementwise.* CudaExp.* CudaInit.* CudaEmbed.* CudaNorm.* CudaRope.* CudaOptim.* CudaSample.* CudaLoss.* CudaMla.*
      CudaMoe.* CudaMemory.* CudaAttention.TrainsRows* CudaAttention.TrainsFamilies* CudaAttention.Keeps* CudaAttention.Prefills*
      CudaAttention.Shares* CudaMatmul.*RaggedShapes CudaMatmul.*Decoding CudaMatmul.OneRow* CudaMatmul.NaN* CudaMatmul.Op* CudaMatmul.Frozen*
      CudaModel.Decodes*)
    add_test(NAME gpu_emulated COMMAND gpu_emulated_test
      --gtest_filter=Emulated*:${f32_tests}:${tensor_tests}:CudaBf16Model.Logits*:CudaTensorGroups.*:CudaLatentAttention.IsNear*:CudaLatentAttention.Takes*)
    add_test(NAME gpu_emulated_sm80 COMMAND gpu_emulated_test --gtest_filter=${tensor_tests})
    set_tests_properties(gpu_emulated gpu_emulated_sm80 PROPERTIES COST 150)
    set_tests_properties(gpu_emulated_sm80 PROPERTIES ENVIRONMENT R1_EMULATED_SM=80)
    r1_gpu_program(r1_emulated ${CMAKE_SOURCE_DIR}/src/cli/main.cc $<TARGET_OBJECTS:r1_emulator>)
    target_link_libraries(r1_emulated PRIVATE r1_cli PkgConfig::ZSTD)
  endif()
  add_test(NAME gpu_without_device COMMAND gpu_test --gtest_filter=WithoutADevice.*)
endif()
if(R1_BENCH)
  foreach(name bench ops products quant rows decode)
    list(APPEND bench_files ${CMAKE_SOURCE_DIR}/bench/gpu_${name}.cu)
  endforeach()
  r1_cuda_objects(bench "${bench_files}")
  r1_gpu_program(gpu_bench ${bench})
  r1_gpu_program(gpu_sampling ${CMAKE_SOURCE_DIR}/bench/gpu_sampling.cc)
  target_link_libraries(gpu_sampling PRIVATE r1_engine)
endif()
