"""Package metadata. The exact versions that CI tests are in constraints.txt."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'ceph_tf/__init__.py').read_text()).group(1)
# CT volumes; DICOM X-rays, uncompressed and RLE; and as JPEG (also lossless), JPEG-LS and JPEG 2000.
# pylibjpeg-libjpeg is under the GPL, version 3; without it those JPEG files alone are refused.
MEDICAL = ['SimpleITK>=2.4', 'pydicom>=3', 'pylibjpeg>=2', 'pylibjpeg-libjpeg>=2.1',
           'pylibjpeg-openjpeg>=2.1']
SERVING = ['tensorflow-serving-api>=2.21,<2.22']  # the protos of TensorFlow Serving's gRPC, with grpcio
VERIFY = ['openvino>=2025.4']  # a second runtime to compare with

setuptools.setup(
    name='ceph_tf',
    version=VERSION,
    description='Cephalometric landmark localization that knows when it is wrong',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    python_requires='>=3.11,<3.13',
    packages=setuptools.find_packages(include=['ceph_tf*', 'pipelines*']),
    install_requires=[
        'tensorflow>=2.21,<2.22',
        'keras>=3.15,<3.16',
        'h5py>=3.10',
        'tensorflow-probability>=0.25,<0.26',
        'tf-keras>=2.21,<2.22',
        'tensorboard>=2.21,<2.22',
        'numpy>=2.0',
        'scipy>=1.13',
        'opencv-python-headless>=4.10',
        'absl-py>=2.1',
        'matplotlib>=3.9',
        'tqdm>=4.66',
    ],
    extras_require={
        'medical': MEDICAL,
        'serving': SERVING,
        'verify': VERIFY,
        'dev': ['pytest>=8', 'pytest-xdist>=3.8', 'ruff>=0.8', *MEDICAL, *SERVING, *VERIFY],
    },
)
