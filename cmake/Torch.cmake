# Imported targets for the pip wheel of PyTorch. find_package(Torch) refuses a CUDA wheel on a machine without a CUDA
# toolkit, although the CPU half links without one; these targets do not.
#   torch_cpu   libtorch_cpu + libc10, always
#   torch_cuda  libtorch_cuda + libc10_cuda, when TRIREME_CUDA is on
# pip hides an environment's packages from what it builds for it, but sysconfig knows where they are.
set(FIND_TORCH [[
import importlib.util, os, sys, sysconfig
sys.path.append(sysconfig.get_path("platlib"))
print(sys.prefix, os.path.dirname(importlib.util.find_spec("torch").origin), sep=";")]])
execute_process(COMMAND ${TRIREME_PYTHON} -c "${FIND_TORCH}"
                OUTPUT_VARIABLE FOUND_TORCH OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
list(POP_FRONT FOUND_TORCH PYTHON_PREFIX TORCH_ROOT)
if(NOT TORCH_ROOT OR NOT EXISTS ${TORCH_ROOT}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "no torch wheel found through ${TRIREME_PYTHON}: run ./dev build, which installs one, or set "
                      "TRIREME_PYTHON to a Python that has torch >= 2.11 (for pip: pip install torch first, and if that is "
                      "not found, pip install --no-build-isolation)")
endif()
file(READ ${TORCH_ROOT}/version.py TORCH_VERSION_TEXT)
string(REGEX MATCH "__version__ = '([0-9]+\\.[0-9]+)" _ ${TORCH_VERSION_TEXT})
set(TORCH_VERSION ${CMAKE_MATCH_1})
if(TORCH_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR "torch ${TORCH_VERSION} at ${TORCH_ROOT} is too old: trireme needs 2.11 or later")
endif()
get_filename_component(SITE_PACKAGES ${TORCH_ROOT} DIRECTORY)
message(STATUS "torch ${TORCH_VERSION}: ${TORCH_ROOT}")

find_package(Threads REQUIRED)
add_library(torch_cpu INTERFACE)
target_include_directories(torch_cpu SYSTEM INTERFACE ${TORCH_ROOT}/include ${TORCH_ROOT}/include/torch/csrc/api/include)
# Accidental includes of the whole operator table cost seconds per file: this turns them into errors.
target_compile_definitions(torch_cpu INTERFACE AT_PER_OPERATOR_HEADERS TORCH_ASSERT_ONLY_METHOD_OPERATORS)
file(GLOB NVIDIA_LIBRARY_DIRS ${SITE_PACKAGES}/nvidia/*/lib)
set(NVIDIA_RPATH_LINK "")
foreach(dir IN LISTS NVIDIA_LIBRARY_DIRS)
  list(APPEND NVIDIA_RPATH_LINK "-Wl,-rpath-link,${dir}")
endforeach()
target_link_options(torch_cpu INTERFACE -L${TORCH_ROOT}/lib ${NVIDIA_RPATH_LINK})
set(RUN_TIME_LIBRARIES ${TORCH_ROOT}/lib)  # folders of what a program loads
target_link_libraries(torch_cpu INTERFACE -Wl,--push-state,--no-as-needed,-ltorch_cpu,-lc10,--pop-state Threads::Threads)
# One OpenMP in a process: the wheel's own; where it brings none, the compiler's, as torch itself then does.
file(GLOB OPENMP_LIBRARY ${TORCH_ROOT}/lib/libgomp*.so*)
if(OPENMP_LIBRARY)
  target_link_libraries(torch_cpu INTERFACE ${OPENMP_LIBRARY})
else()
  target_link_options(torch_cpu INTERFACE -fopenmp)
endif()

# CUDA: the toolkit for the kernels, and the wheel's CUDA half (its libraries come as packages of their own).
set(TRIREME_HAS_CUDA OFF)
if(NOT TRIREME_CUDA STREQUAL "OFF")
  find_program(NVCC nvcc HINTS /usr/local/cuda/bin)
  file(GLOB CUDNN_LIBRARY ${SITE_PACKAGES}/nvidia/cudnn/lib/libcudnn.so*)
  file(GLOB NCCL_LIBRARY ${SITE_PACKAGES}/nvidia/nccl/lib/libnccl.so*)
  if(NVCC AND CUDNN_LIBRARY AND NCCL_LIBRARY AND EXISTS ${TORCH_ROOT}/lib/libtorch_cuda.so)
    set(TRIREME_HAS_CUDA ON)
  elseif(TRIREME_CUDA STREQUAL "ON")
    message(FATAL_ERROR "TRIREME_CUDA=ON needs nvcc and the torch wheel with all its nvidia packages at ${SITE_PACKAGES}")
  endif()
endif()
if(TRIREME_HAS_CUDA)
  set(NCCL_INCLUDE ${SITE_PACKAGES}/nvidia/nccl/include)  # of the very version that libtorch_cuda uses
  set(CMAKE_CUDA_COMPILER ${NVCC})
  set(CMAKE_CUDA_ARCHITECTURES 90a)
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # the wheel's, linked below
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc 12 and later take it
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  find_package(CUDAToolkit REQUIRED)
  target_link_options(torch_cpu INTERFACE -L${SITE_PACKAGES}/nvidia/cu13/lib)
  target_include_directories(torch_cpu SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(torch_cpu INTERFACE
    -Wl,--push-state,--no-as-needed,-ltorch_cuda,-lc10_cuda,--pop-state -l:libcudart.so.13 -l:libcublasLt.so.13)
  list(APPEND RUN_TIME_LIBRARIES ${SITE_PACKAGES}/nvidia/cu13/lib)
endif()
message(STATUS "CUDA: ${TRIREME_HAS_CUDA}")

# Where programs look for these libraries, in this order: in lib/ beside bin/, for who brings them along; where they are
# now; and, if they are an environment's, where they lie in the environment that bin/ is of, so that one with trireme in
# it can be moved. The latter comes last: another environment may have another torch. Built and installed programs are
# the same, for what CMake fills a shorter list up with means the current folder.
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH $ORIGIN/../lib ${RUN_TIME_LIBRARIES})
foreach(dir IN LISTS RUN_TIME_LIBRARIES)
  file(RELATIVE_PATH relative ${PYTHON_PREFIX} ${dir})
  if(NOT relative MATCHES "^\\.\\.")
    list(APPEND CMAKE_INSTALL_RPATH $ORIGIN/../${relative})
  endif()
endforeach()
