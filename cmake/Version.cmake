# The library `version`: src/base/version.h. It stands apart from `base` so that a commit compiles one file and links one
# program, not every test. The commit is looked up while building, when HEAD has moved.
set(COMMIT "$Format:%H$")  # git archive writes it here (.gitattributes)

if(CMAKE_SCRIPT_MODE_FILE)  # cmake -DSOURCE=... -DOUT=... -DVERSION=... -DCUDA=... -DTORCH=... -P Version.cmake
  if(EXISTS ${SOURCE}/.git)  # without it git would find the repository of a folder above
    execute_process(COMMAND git -C ${SOURCE} rev-parse HEAD OUTPUT_VARIABLE COMMIT ERROR_QUIET)
  endif()
  if(COMMIT MATCHES "^[0-9a-f]+")
    string(SUBSTRING ${COMMIT} 0 12 COMMIT)
  else()
    set(COMMIT unknown)
  endif()
  configure_file(${SOURCE}/src/base/version.cc.in ${OUT} @ONLY)
  file(TOUCH ${OUT})  # the same text is up to date too
  return()
endif()

set(HEAD_LOG "")  # which changes with every commit and checkout; a worktree has its own
if(EXISTS ${CMAKE_SOURCE_DIR}/.git)
  execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} rev-parse --path-format=absolute --git-path logs/HEAD
                  OUTPUT_VARIABLE HEAD_LOG OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT EXISTS "${HEAD_LOG}")
    set(HEAD_LOG "")
  endif()
endif()
set(CUDA no)
if(TRIREME_HAS_CUDA)
  set(CUDA ${CMAKE_CUDA_ARCHITECTURES})
endif()
set(TORCH no)
if(TORCH_VERSION)
  set(TORCH ${TORCH_VERSION})
endif()
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/version.cc
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DOUT=${CMAKE_BINARY_DIR}/version.cc -DVERSION=${PROJECT_VERSION}
          -DCUDA=${CUDA} -DTORCH=${TORCH} -P ${CMAKE_CURRENT_LIST_FILE}
  DEPENDS src/base/version.cc.in ${CMAKE_CURRENT_LIST_FILE} ${HEAD_LOG}
  VERBATIM)
add_library(version STATIC ${CMAKE_BINARY_DIR}/version.cc)
target_include_directories(version PRIVATE src)
