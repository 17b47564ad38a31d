const opacity = document.getElementById("opacity");
const show = () => document.documentElement.style.setProperty("--opacity", opacity.value + "%");
const pixels = document.getElementById("pixels");
const sharpen = () => document.body.classList.toggle("pixels", pixels.checked);
opacity.addEventListener("input", show);
pixels.addEventListener("change", sharpen);
show();
sharpen();
